import { existsSync } from "node:fs";
import { pick } from "../../../engine/options/values.ts";
import { resolvePath } from "../../../engine/platform/model-source-node.ts";
import type { ScoreMetric } from "../../../engine/run/gate/gate.ts";
import type { QualityEntry } from "../../../engine/run/leaderboard/quality.ts";
import { MODEL_OPTIONS } from "../../../engine/run/settings/model-options.ts";
import { UsageError, errorMessage } from "../../../engine/runtime/errors.ts";
import type { Context } from "../../context.ts";
import { type Inputs, type ScoreFlags, Scorers, readInputs, checkFlags } from "../../quality/score.ts";
import { BASELINE, type CheckpointEntry, type EvaluationConfig, isPlain } from "../config.ts";

/** A checkpoint whose pictures are to be scored. */
export interface PlannedQuality extends QualityEntry {
  readonly flags: ScoreFlags;
  readonly inputs: Inputs;
  /** Pictures of all shards. */
  readonly pictures: number;
}

/** What an evaluation's `quality` comes to. */
export interface QualityPlan {
  readonly checkpoints: readonly PlannedQuality[];
  /** What conditions may name. */
  readonly scores: readonly ScoreMetric[];
}

/** In a path of pictures it stands for the checkpoint's name. */
export const CHECKPOINT = "{checkpoint}";

/**
 * Every checkpoint's scoring, and that of the model before unlearning: it draws the captions, or its pictures are in a folder of its own.
 * All files are read and the networks opened, so that no evaluation ends hours later for one of them.
 * @throws UsageError, FormatError or InputError
 */
export async function planQuality(config: EvaluationConfig, context: Context): Promise<QualityPlan | undefined> {
  const { quality } = config;
  if (!quality) return undefined;
  const { images, ...settings } = quality;
  if (images !== undefined && !images.includes(CHECKPOINT)) {
    throw new UsageError(
      `quality: images must name ${CHECKPOINT}, which stands for each checkpoint's name; it is ${JSON.stringify(images)}`,
    );
  }
  const flagsOf = (entry: CheckpointEntry): ScoreFlags => images === undefined
    ? { ...settings, model: entry.model ?? config.model, ...pick(MODEL_OPTIONS, { ...entry }) }
    : { ...settings, images: images.replaceAll(CHECKPOINT, entry.name) };
  try {
    for (const entry of config.checkpoints) checkFlags(flagsOf(entry));
  } catch (error) {
    throw new UsageError(`quality: ${errorMessage(error)}`, { cause: error });
  }
  const checkpoints: PlannedQuality[] = [];
  for (const entry of withBaseline(config)) {
    const flags = flagsOf(entry);
    // Nobody is obliged to have drawn them with the model before unlearning too.
    if (flags.images !== undefined && entry.name === BASELINE && !existsSync(resolvePath(flags.images))) continue;
    // Captions and real pictures are the same for all.
    const shared: Inputs | undefined = checkpoints[0]?.inputs;
    const wanted = shared ? { ...flags, real: undefined, statistics: undefined } : flags;
    const read = shared && flags.images === undefined ? shared : await readInputs(wanted, context);
    const inputs = shared ? { ...read, real: shared.real } : read;
    const all = inputs.captions?.length ?? inputs.images!.length;
    const pictures = Math.min(all, settings.count ?? all);
    checkpoints.push({ checkpoint: entry.name, ...(isPlain(entry) && { baseline: true }), flags, inputs, pictures });
  }
  const scorers = await Scorers.open(checkpoints[0]!.flags, context);
  await scorers.close();
  return { checkpoints, scores: scoresOf(checkpoints[0]!.inputs, scorers) };
}

function withBaseline({ base, checkpoints }: EvaluationConfig): readonly CheckpointEntry[] {
  return base === false || checkpoints.some(isPlain) ? checkpoints : [...checkpoints, { name: BASELINE }];
}

/** What conditions may name. */
function scoresOf({ real }: Inputs, { network, clip }: Pick<Scorers, "network" | "clip">): ScoreMetric[] {
  const distance = network?.distanceName === "FID" ? "fid" : "frechet-distance";
  return [
    ...(network && real ? [distance] as const : []),
    ...(network && Array.isArray(real) ? (["kid"] as const) : []),
    ...(clip === undefined ? [] : (["clip"] as const)),
  ];
}
