import { filledIn } from "../../options/values.ts";
import { UsageError } from "../../runtime/errors.ts";
import { clipScore } from "../clip-score.ts";
import { type KnownSet, distancesOf } from "../distance/scores.ts";
import { statisticsOf } from "../distance/statistics.ts";
import { writeStatistics } from "../distance/statistics-file.ts";
import type { FeatureNetwork } from "../feature-network.ts";
import { type LoggedPicture, featureRows } from "./feature-log.ts";
import { QUALITY_FILES, type QualityEvent, type QualityOptions, type QualityResult, type SetName, isPictures } from "./kinds.ts";
import { QUALITY_OPTIONS } from "./option-table.ts";

type Taken = ReadonlyMap<string, LoggedPicture>;

/** Counts, and the CLIP score: all that a shard has. */
export function withoutDistances(generated: Taken, real: Taken | undefined): QualityResult {
  // In the order of names, so that a sum does not hang on which part made a picture.
  const logits = [...generated.values()].flatMap(({ name, logit }): [string, number][] => (logit === undefined ? [] : [[name, logit]]));
  const captionScores = new Map(logits.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const readable = (taken: Taken): number => [...taken.values()].filter((p) => p.unreadable === undefined).length;
  const all = generated.size + (real?.size ?? 0);
  return {
    count: readable(generated),
    realCount: real ? readable(real) : null,
    unreadable: all - readable(generated) - (real ? readable(real) : 0),
    distances: null,
    clipScore: captionScores.size > 0 ? clipScore([...captionScores.values()]) : null,
    captionScores,
    times: {},
  };
}

/**
 * The scores of pictures whose features are known: of one run, or of all shards together. Writes `statistics.npz` to the store.
 * @throws InputError for sets that cannot be compared; RangeError for fewer than two pictures
 */
export async function scored(
  options: Omit<QualityOptions, "network"> & { readonly network?: Pick<FeatureNetwork, "dims" | "meanPrecision"> | undefined },
  taken: Readonly<Record<SetName, Taken>>,
  onEvent: (event: QualityEvent) => void | Promise<void> = () => undefined,
): Promise<QualityResult> {
  const { network, real, store } = options;
  const counts = withoutDistances(taken.generated, isPictures(real) ? taken.real : undefined);
  if (!network) return counts;
  const settings = filledIn(QUALITY_OPTIONS, options);
  const setOf = (name: string, pictures: Taken): KnownSet => {
    const features = featureRows(pictures.values(), network.dims);
    if (features.count < 2) throw new UsageError(`${name}: at least two pictures are needed, there are ${features.count}`);
    return { name, features, statistics: statisticsOf(features) };
  };
  const generated = setOf("the generated pictures", taken.generated);
  await store?.write(QUALITY_FILES.statistics, await writeStatistics(generated.statistics));
  if (!real) return counts;
  const distances = await distancesOf(generated, isPictures(real) ? setOf("the real pictures", taken.real) : real, {
    ...settings,
    float32Mean: network.meanPrecision === "float32",
    onProgress: (what, done, total) => onEvent({ type: "score", what, done, total }),
  });
  return { ...counts, distances };
}
