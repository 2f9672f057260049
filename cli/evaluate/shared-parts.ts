import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Device } from "../../engine/runtime/device.ts";
import type { FileRecord } from "../../engine/run/record.ts";
import { recordFiles } from "../attack/files.ts";
import { type JudgeOfRun, openJudge } from "../attack/judge.ts";
import { type JudgeSettings, judgeKey, judgesByOriginal, ruleOf } from "../../engine/run/settings/judge.ts";
import type { OpenedModels, Opening } from "../attack/opening.ts";
import type { NeededModels } from "../../engine/run/settings/needs.ts";
import type { Context } from "../context.ts";
import { type OpenedModel, openWithFiles } from "../model.ts";
import type { DownloadContext } from "../model-source.ts";
import { type ModelOptions, givenModelFlags } from "../../engine/run/settings/model-options.ts";

interface SharedJudge {
  readonly original: StableDiffusion | undefined;
  readonly open: JudgeOfRun;
}

/**
 * What the attempts of an evaluation share: the model under attack and where it is needed the one before unlearning (no others are on the
 * device), the judges, and the hashes of files.
 */
export class SharedParts implements Opening {
  private readonly slots = new Map<keyof NeededModels, { readonly key: string; readonly open: OpenedModel }>();
  private readonly judges = new Map<string, SharedJudge>();
  private readonly hashed = new Map<string, Promise<FileRecord[]>>();
  readonly quiet = true;

  readonly models = async (context: Context, { attacked, original, control }: NeededModels): Promise<OpenedModels> => {
    if (!original) await this.drop("original");
    if (!control) await this.drop("control");
    return {
      attacked: await this.open("attacked", context, attacked),
      original: original && (await this.open("original", context, original)),
      control: control && (await this.open("control", context, control)),
    };
  };

  private async open(slot: keyof NeededModels, context: Context, options: ModelOptions): Promise<OpenedModel> {
    const key = JSON.stringify([options.model, givenModelFlags(options)]);
    const there = this.slots.get(slot);
    if (there?.key === key) return there.open;
    await this.drop(slot);
    const open = await openWithFiles(context, options);
    this.slots.set(slot, { key, open });
    return open;
  }

  private async drop(slot: keyof NeededModels): Promise<void> {
    await this.slots.get(slot)?.open.model.destroy();
    this.slots.delete(slot);
  }

  /** Frees all of it, and closes its files. */
  async close(): Promise<void> {
    await this.drop("attacked");
    await this.drop("original");
    await this.drop("control");
    // labels of one model share it
    for (const destroy of new Set([...this.judges.values()].map(({ open }) => open.destroy))) await destroy();
    this.judges.clear();
  }

  readonly judge = async (
    context: DownloadContext,
    device: Device,
    settings: JudgeSettings,
    original?: StableDiffusion,
  ): Promise<JudgeOfRun> => {
    // A model's labels share the model: retained concepts have many.
    const [exact, anyLabel] = [judgeKey(settings), judgeKey(settings, "label")];
    const usable = (found: SharedJudge | undefined): found is SharedJudge =>
      found !== undefined && (found.original === original || !judgesByOriginal(settings));
    const there = this.judges.get(exact);
    if (usable(there)) return there.open;
    const other = this.judges.get(anyLabel);
    const open =
      usable(other) && other.open.forLabel
        ? { ...other.open, judge: other.open.forLabel(settings.label ?? ""), label: settings.label, rule: ruleOf(settings) }
        : await openJudge(context, device, settings, original);
    for (const key of [exact, anyLabel]) this.judges.set(key, { original, open });
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
