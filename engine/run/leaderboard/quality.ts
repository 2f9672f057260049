/** What a checkpoint's pictures of ordinary captions are worth, as an evaluation's tables show it beside the attacks. */
import { InputError } from "../../runtime/errors.ts";

/** A checkpoint whose pictures an evaluation scores, as evaluation.json lists it. */
export interface QualityEntry {
  readonly checkpoint: string;
  /** It is the model before unlearning. */
  readonly baseline?: boolean;
}

/** The folder of a checkpoint's scores, below an evaluation's. */
export function qualityFolder(checkpoint: string): string {
  return `quality/${checkpoint}`;
}

/** The scores of one checkpoint: what its quality run's result.json holds, as far as tables need it. */
export interface QualityScores extends QualityEntry {
  /** "FID" is only said of Inception's features. */
  readonly distanceName: DistanceName;
  /** What the distances are of, such as "t2ibenchmark 2048": numbers of other features are not comparable. */
  readonly features: string | null;
  /** Pictures that were scored, of so many; and real ones. */
  readonly count: number;
  readonly total: number;
  readonly realCount: number | null;
  /** What they were compared with. */
  readonly comparedWith: string | null;
  readonly unreadable: number;
  readonly frechet: number | null;
  readonly frechetInterval: Interval | null;
  /** The recipe's own number where it is another one. */
  readonly reference: { readonly value: number; readonly branch: string } | null;
  readonly kid: number | null;
  readonly kidStd: number | null;
  readonly clipScore: number | null;
  readonly clipInterval: Interval | null;
  /** What the numbers are not. */
  readonly warnings: readonly string[];
  /** A few of its pictures with their captions; empty where they were not kept. */
  readonly pictures: readonly { readonly prompt: string; readonly image: string }[];
}

type Interval = readonly [low: number, high: number];
type DistanceName = "FID" | "Frechet distance";

/** What the kernel distance between the same features is called. */
export function kernelName(distance: DistanceName): "KID" | "kernel distance" {
  return distance === "FID" ? "KID" : "kernel distance";
}

/** Said of a Frechet distance of other features. */
export const NO_FID = "This is not an FID, a name that is for distances between Inception's features.";

/**
 * Scores by checkpoint.
 * @throws InputError for scores of different features, which belong in no table together
 */
export function scoresByCheckpoint(scores: readonly QualityScores[]): ReadonlyMap<string, QualityScores> {
  const features = new Set(scores.flatMap((s) => s.features ?? []));
  if (features.size > 1) {
    throw new InputError(`pictures were scored by different features (${[...features].join("; ")}): their distances are not comparable`);
  }
  return new Map(scores.map((s) => [s.checkpoint, s]));
}

/** "18.2 [17.9, 18.6]"; empty for what there is not. */
export function scoreText(value: number | null | undefined, interval: Interval | null = null): string {
  if (value === null || value === undefined) return "";
  return interval ? `${digits(value)} [${interval.map(digits).join(", ")}]` : digits(value);
}

/** Four digits; small numbers three decimals and more. */
function digits(x: number): string {
  return Math.abs(x) >= 1000 ? x.toFixed(0) : Number(x.toPrecision(4)).toString();
}

/** What the scores of a table are of, in sentences. */
export function qualityNote(scores: readonly QualityScores[]): string {
  const [first] = scores;
  if (!first) return "";
  const counts = [...new Set(scores.map((s) => (s.count < s.total ? `${s.count} of ${s.total}` : String(s.count))))].join(", ");
  const skipped = scores.filter((s) => s.unreadable > 0).map((s) => `${s.checkpoint} ${s.unreadable}`);
  const real = first.realCount === null ? "" : `${first.realCount} of `;
  const against = first.comparedWith === null ? "" : `, against ${real}${first.comparedWith}`;
  const distances = first.features === null ? [] : [
    `${first.distanceName}: between features (${first.features}) of ${counts} pictures a checkpoint${against}; lower is better. ` +
      "Numbers of other features, or of another number of pictures, are not comparable with it.",
    ...(first.distanceName === "FID" ? [] : [NO_FID]),
  ];
  return [
    ...distances,
    ...(scores.some((s) => s.clipScore !== null) ? ["CLIP score: agreement of pictures with their captions; higher is better."] : []),
    ...(skipped.length > 0 ? [`Pictures that could not be read and were passed over: ${skipped.join(", ")}.`] : []),
    ...new Set(scores.flatMap((s) => s.warnings.map((w) => `${s.checkpoint}: ${w}.`)).slice(0, 2)),
  ].join(" ");
}
