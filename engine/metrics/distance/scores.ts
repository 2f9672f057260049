import { manualSeed } from "../../runtime/random/random.ts";
import { type FeatureSet, REFERENCE_EPSILON, frechetDistance, takesEpsilon } from "./frechet.ts";
import { type Kid, fidelitySubsets, kernelDistance } from "./kid.ts";
import { type Features, type Statistics, float32Mean } from "./statistics.ts";

/** Fewer pictures than this are fewer than the public benchmark's. */
const BENCHMARK_COUNT = 10_000;
const DEFAULT_RESAMPLES = 100;
/** Multiplications that a default bootstrap may take: under a minute. */
const QUICK_WORK = 3e10;
const INTERVAL = [0.025, 0.975] as const;

export interface ScoreOptions {
  readonly kidSubsets: number;
  readonly kidSize: number | null;
  readonly kidSeed: number;
  readonly bootstrap: number | null;
  /** The reference keeps means in float32. */
  readonly float32Mean: boolean;
  readonly onProgress?: ((what: "KID" | "bootstrap", done: number, total: number) => void | Promise<void>) | undefined;
}

export interface Distances {
  /** The Frechet distance, without the reference's branches. */
  readonly frechet: number;
  /** 95 %, by the spread of a bootstrap over pictures, without the bias; null if it was not asked for or takes long. */
  readonly interval: readonly [number, number] | null;
  /** What the recipe's own code gives where it is another number, and why. */
  readonly reference: { readonly value: number; readonly branch: "float32 mean" | "epsilon" } | null;
  /** How much of the distance is there because the generated pictures are few; null from 10,000 on. An estimate from half of them. */
  readonly bias: number | null;
  /** null where one set is known by its statistics only. */
  readonly kid: (Kid & { readonly subsets: number; readonly size: number }) | null;
  readonly warnings: readonly string[];
}

/** A set whose rows are at hand, or those and its statistics. */
type RowSet = FeatureSet & { readonly features: Features };
export type KnownSet = RowSet & { readonly statistics: Statistics };

/** All distances between generated and real pictures. @throws InputError for sets that cannot be compared */
export async function distancesOf(
  generated: KnownSet,
  real: FeatureSet & Pick<KnownSet, "statistics">,
  options: ScoreOptions,
): Promise<Distances> {
  const { distance, meanTerm, noise } = frechetDistance(generated, real);
  const { count, dims } = generated.features;
  const warnings: string[] = [];
  let bias: number | null = null;
  if (count < BENCHMARK_COUNT) {
    bias = count >= 4 ? Math.max(0, frechetDistance(everyOther(generated), real).distance - distance) : null;
    const share = bias === null ? "" : `, by about ${bias.toPrecision(2)} (judged from half of them)`;
    warnings.push(`${count} generated pictures, not ${BENCHMARK_COUNT}: with so few the distance comes out too high${share}`);
  }
  const fewest = Math.min(count, real.features?.count ?? Infinity);
  if (fewest <= dims) {
    warnings.push(
      `${fewest} pictures for ${dims} features: a covariance is singular. The number given is exact; the field's tools add an epsilon, ` +
        "or are off by rounding",
    );
  }
  return {
    frechet: distance > noise ? distance : 0,
    interval: await intervalOf(generated, real, distance, options),
    reference: referenceOf(generated, real, distance - meanTerm, options),
    bias,
    kid: real.features ? await kidOf(generated.features, real.features, options) : null,
    warnings,
  };
}

/** What the reference's code would give, by its branches. @param rest the distance without its mean term */
function referenceOf(
  generated: KnownSet,
  real: FeatureSet & Pick<KnownSet, "statistics">,
  rest: number,
  options: ScoreOptions,
): Distances["reference"] {
  const mean = ({ features, statistics }: FeatureSet & Pick<KnownSet, "statistics">): Float64Array =>
    features && options.float32Mean ? float32Mean(features) : statistics.mean;
  const [a, b] = [mean(generated), mean(real)];
  const meanTerm = a.reduce((sum, m, i) => sum + (m - b[i]!) ** 2, 0);
  if (takesEpsilon(generated.statistics, real.statistics)) {
    const epsilon = frechetDistance(generated, real, { epsilon: REFERENCE_EPSILON });
    return { value: epsilon.distance - epsilon.meanTerm + meanTerm, branch: "epsilon" };
  }
  return options.float32Mean ? { value: rest + meanTerm, branch: "float32 mean" } : null;
}

/** The set of every other picture. */
function everyOther(set: RowSet): FeatureSet {
  const { count } = set.features;
  return chosen(set, Int32Array.from({ length: Math.floor(count / 2) }, (_, i) => 2 * i));
}

function chosen({ name, features: { data, dims } }: RowSet, rows: Int32Array): FeatureSet {
  const picked = new Float32Array(rows.length * dims);
  rows.forEach((row, i) => picked.set(data.subarray(row * dims, (row + 1) * dims), i * dims));
  return { name, features: { data: picked, count: rows.length, dims } };
}

/** Multiplications of one Frechet distance, about: statistics, factors, their product and its singular values. */
function workOf(sets: readonly FeatureSet[], dims: number): number {
  const counts = sets.map((s) => s.features?.count ?? dims);
  const ranks = counts.map((n) => Math.min(n, dims));
  const factors = counts.reduce((sum, n) => sum + (n > dims ? (n * dims * dims) / 2 + dims ** 3 / 3 : n * dims), 0);
  return factors + ranks[0]! * ranks[1]! * dims + 2 * Math.min(...ranks) ** 2 * Math.max(...ranks);
}

async function intervalOf(
  generated: KnownSet,
  real: FeatureSet,
  distance: number,
  { bootstrap, kidSeed, onProgress }: ScoreOptions,
): Promise<readonly [number, number] | null> {
  const quick = DEFAULT_RESAMPLES * workOf([generated, real], generated.features.dims) < QUICK_WORK;
  const resamples = bootstrap ?? (quick ? DEFAULT_RESAMPLES : 0);
  if (resamples === 0) return null;
  const random = manualSeed(kidSeed);
  const resampled = (set: FeatureSet): FeatureSet => {
    const { features } = set;
    return features ? chosen({ ...set, features }, Int32Array.from(random.randint(features.count, features.count))) : set;
  };
  const distances: number[] = [];
  for (let i = 0; i < resamples; i++) {
    distances.push(frechetDistance(resampled(generated), resampled(real)).distance);
    await onProgress?.("bootstrap", i + 1, resamples);
  }
  distances.sort((a, b) => a - b);
  const mean = distances.reduce((sum, x) => sum + x, 0) / resamples;
  // Resamples repeat pictures, so that all their distances are too high: their spread about their own mean is laid about the distance.
  // With few pictures the excess is several times the distance, and an interval that took it off would leave out the distance itself.
  const bound = (share: number): number => distance + distances[Math.min(resamples - 1, Math.floor(share * resamples))]! - mean;
  return [Math.max(0, bound(INTERVAL[0])), bound(INTERVAL[1])];
}

async function kidOf(generated: Features, real: Features, options: ScoreOptions): Promise<Distances["kid"]> {
  const { kidSubsets: subsets, kidSize, kidSeed, onProgress } = options;
  const size = kidSize ?? Math.min(1000, generated.count, real.count);
  const drawn = fidelitySubsets(manualSeed(kidSeed), [generated.count, real.count], subsets, size);
  const kid = await kernelDistance(generated, real, drawn, (done, total) => onProgress?.("KID", done, total));
  return { ...kid, subsets, size };
}
