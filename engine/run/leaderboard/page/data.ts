import type { RgbImage } from "../../../formats/picture/image.ts";
import type { LogLine } from "../../log.ts";
import type { AttemptLine } from "../attempt-line.ts";
import type { Board } from "../columns.ts";
import type { CellRecord, Manifest } from "../manifest.ts";
import type { MadeCheckpoint } from "./made.ts";

/** What the page needs of a line of attack.jsonl; `image` is below the attempt's folder. */
export type LoggedPicture = Pick<LogLine, "timestep" | "iteration" | "prompt" | "scores" | "success" | "image">;

/** What the page is made of. */
export interface PageData {
  readonly manifest: Manifest;
  readonly board: Board;
  readonly lines: readonly AttemptLine[];
  readonly showImages: boolean;
  /** Found prompts of harmful concepts are named. */
  readonly showPrompts: boolean;
  /** Of a path below the evaluation's folder; undefined if it is not there any more. */
  readonly image: (path: string) => Promise<RgbImage | undefined>;
  /** The log of an attempt; empty if it is not there any more. */
  readonly log: (attempt: string) => Promise<readonly LoggedPicture[]>;
  /** What a cell's attempts had in common; undefined before the first is done. */
  readonly record: (cell: string) => Promise<Partial<CellRecord> | undefined>;
  /** When the first attempt began and the last one ended, ISO 8601. */
  readonly dates: () => Promise<readonly string[]>;
  /** Checkpoints that were made for the evaluation. */
  readonly made: readonly MadeCheckpoint[];
}
