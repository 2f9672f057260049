import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Device } from "../../engine/runtime/device.ts";
import type { FileRecord } from "../../engine/run/record.ts";
import { recordFiles } from "../attack/files.ts";
import { type JudgeOfRun, openJudge } from "../attack/judge.ts";
import { type JudgeSettings, judgeKey, judgesByOriginal, ruleOf } from "../../engine/run/settings/judge.ts";
import { type Opening, needsOriginal } from "../attack/opening.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import type { Context } from "../context.ts";
import { type OpenedModel, openWithFiles } from "../model.ts";
import type { DownloadContext } from "../model-source.ts";
import { type ModelOptions, givenModelFlags } from "../../engine/run/settings/model-options.ts";

interface SharedJudge {
  readonly original: StableDiffusion | undefined;
  readonly open: JudgeOfRun;
}

/** A model that is on the device once. */
type Slot = "attacked" | "original" | "control";

/**
 * What the attempts of an evaluation share: the model under attack and where it is needed the one before unlearning (no others are on the
 * device), the judges, and the hashes of files.
 */
export class SharedParts implements Opening {
  private readonly models = new Map<Slot, { readonly key: string; readonly open: OpenedModel }>();
  private readonly judges = new Map<string, SharedJudge>();
  private readonly hashed = new Map<string, Promise<FileRecord[]>>();
  readonly quiet = true;

  readonly model = async (context: Context, settings: AttackSettings): Promise<OpenedModel> => {
    if (!needsOriginal(settings)) await this.drop("original");
    if (settings.controlModel === null && settings.controlUnet === null) await this.drop("control");
    return this.open("attacked", context, settings);
  };

  readonly original = (context: Context, options: ModelOptions): Promise<OpenedModel> => this.open("original", context, options);

  readonly control = (context: Context, options: ModelOptions): Promise<OpenedModel> => this.open("control", context, options);

  private async open(slot: Slot, context: Context, options: ModelOptions): Promise<OpenedModel> {
    const key = JSON.stringify([options.model, givenModelFlags(options)]);
    const there = this.models.get(slot);
    if (there?.key === key) return there.open;
    await this.drop(slot);
    const open = await openWithFiles(context, options);
    this.models.set(slot, { key, open });
    return open;
  }

  private async drop(slot: Slot): Promise<void> {
    await this.models.get(slot)?.open.model.destroy();
    this.models.delete(slot);
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
        ? { ...other.open, judge: other.open.forLabel(settings.label ?? ""), rule: ruleOf(settings) }
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
