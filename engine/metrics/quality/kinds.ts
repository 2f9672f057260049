/** What a quality run takes, tells and gives. */
import type { RgbImage } from "../../formats/picture/image.ts";
import type { Store } from "../../formats/store.ts";
import type { Given } from "../../options/option.ts";
import type { ClipScorer } from "../clip-score.ts";
import type { Distances } from "../distance/scores.ts";
import type { Statistics } from "../distance/statistics.ts";
import type { FeatureNetwork } from "../feature-network.ts";
import type { Caption } from "./captions.ts";
import type { QUALITY_OPTIONS } from "./option-table.ts";

/** A picture that is there already. */
export interface PictureFile {
  /** By which it is known: its path below its folder. */
  readonly name: string;
  /** @throws FormatError for one that cannot be read */
  read(): Promise<RgbImage>;
}

export interface QualityOptions extends Given<typeof QUALITY_OPTIONS> {
  /** What is drawn, or what the pictures show. */
  readonly captions?: readonly Caption[] | undefined;
  /** Pictures to score instead of drawing some; with captions those of the captions' names only. */
  readonly images?: readonly PictureFile[] | undefined;
  /** What the pictures are compared with: pictures, or statistics of the same recipe. */
  readonly real?: readonly PictureFile[] | { readonly name: string; readonly statistics: Statistics } | undefined;
  /** What the comparison is made with. Without `real` it makes statistics of the pictures, to compare others with. */
  readonly network?: FeatureNetwork | undefined;
  /** Scores pictures by their captions. */
  readonly clip?: ClipScorer | undefined;
  /** Where pictures, features and statistics are kept, and from where a run goes on. Default: nowhere. */
  readonly store?: Store | undefined;
  /** Where the features of the real pictures are kept, which runs of several models share. Default: `store`. */
  readonly realStore?: Store | undefined;
  /** Only every `count`th picture, from the `index`th (from 1): no scores, which come when all parts are merged. */
  readonly shard?: { readonly index: number; readonly count: number } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type SetName = "generated" | "real";

export type QualityEvent =
  | { readonly type: "begin"; readonly set: SetName; readonly total: number; readonly done: number }
  | { readonly type: "step"; readonly step: number; readonly steps: number }
  | { readonly type: "picture"; readonly set: SetName; readonly name: string; readonly done: number; readonly total: number }
  | { readonly type: "unreadable"; readonly set: SetName; readonly name: string; readonly reason: string }
  | { readonly type: "score"; readonly what: "KID" | "bootstrap"; readonly done: number; readonly total: number };

export interface QualityResult {
  /** Generated pictures that were scored. */
  readonly count: number;
  readonly realCount: number | null;
  /** Pictures that were passed over. */
  readonly unreadable: number;
  /** null for a shard, and without `network` or `real`. */
  readonly distances: Distances | null;
  /** The benchmark's CLIP score; null without captions and CLIP. */
  readonly clipScore: number | null;
  /** Logits by picture. */
  readonly captionScores: ReadonlyMap<string, number>;
  /** What this run's own work took; what an earlier run did is not in it. */
  readonly times: QualityTimes;
}

/** By part of the work: milliseconds in all, and the pictures that they were spent on. */
export type QualityTimes = Readonly<Partial<Record<QualityPart, { readonly ms: number; readonly pictures: number }>>>;
export type QualityPart = "draw" | "read" | "resize" | "network" | "clip" | "distances";

/** Files of a run, below its store. */
export const QUALITY_FILES = {
  logs: { generated: "generated.jsonl", real: "real.jsonl" },
  statistics: "statistics.npz",
  picture: (name: string): string => `pictures/${name}`,
} as const;

/** Whether real pictures are given, not their statistics. */
export function isPictures(real: QualityOptions["real"]): real is readonly PictureFile[] {
  return Array.isArray(real);
}
