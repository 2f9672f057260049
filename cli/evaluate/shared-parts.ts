import type { StableDiffusion } from "../../engine/models/stable-diffusion.ts";
import { type FileRecord, recordFiles } from "../attack/files.ts";
import { type OpenJudge, openJudge } from "../attack/judge.ts";
import type { Opening } from "../attack/prepare.ts";
import type { AttackSettings } from "../attack/run-settings.ts";
import type { Context } from "../context.ts";
import { openModel } from "../model.ts";
import { givenModelFlags } from "../model-flags.ts";

/** What the attempts of an evaluation share: the model under attack (one at a time is on the device), the judges, and the hashes of files. */
export class SharedParts implements Opening {
  private current: { readonly key: string; readonly model: StableDiffusion } | undefined;
  private readonly judges = new Map<string, OpenJudge>();
  private readonly hashed = new Map<string, Promise<FileRecord[]>>();
  readonly quiet = true;

  readonly model = async (context: Context, settings: AttackSettings): Promise<StableDiffusion> => {
    const key = JSON.stringify([settings.model, givenModelFlags(settings)]);
    if (this.current?.key !== key) {
      await this.current?.model.destroy();
      this.current = undefined;
      this.current = { key, model: await openModel(context, settings) };
    }
    return this.current.model;
  };

  readonly judge = async (context: Context, { device }: StableDiffusion, { classifier, judge, label }: AttackSettings): Promise<OpenJudge> => {
    const key = JSON.stringify([classifier, judge, label]);
    const open = this.judges.get(key) ?? (await openJudge(context, device, { classifier, judge, label }));
    this.judges.set(key, open);
    return open;
  };

  readonly files = async (parts: Parameters<typeof recordFiles>[0]): Promise<FileRecord[]> => {
    const records = parts.map((part) => {
      const key = `${part.role} ${part.path}`;
      const hashes = this.hashed.get(key) ?? recordFiles([part]);
      this.hashed.set(key, hashes);
      return hashes;
    });
    return (await Promise.all(records)).flat();
  };
}
