import type { AttackEvent, AttackResult } from "../attack/events.ts";
import type { OpenJudge } from "../attack/judges/open.ts";
import type { DrawnPicture } from "../attack/options.ts";
import type { ResolvedOptions } from "../attack/resolve.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { RunFiles } from "./files.ts";
import type { LoggedEvaluation } from "./log.ts";
import type { RunRecord } from "./record.ts";
import type { ReportExtras } from "./report/data.ts";
import type { LossCurve, SavedState } from "./state.ts";
import type { Target } from "./target.ts";

/** A run ready to start: everything has been opened and checked. */
export interface PreparedRun {
  readonly model: StableDiffusion;
  readonly judge: OpenJudge;
  readonly options: ResolvedOptions;
  readonly target?: Target | undefined;
  readonly files: RunFiles;
  readonly record: RunRecord;
  /** Where an interrupted run stood that is gone on with. */
  readonly saved?: SavedState | undefined;
  readonly extras: ReportExtras;
  /** The original prompt's picture, if another run has drawn it. */
  readonly drawn?: DrawnPicture | undefined;
}

/** What an interrupted run had done when it is gone on with. */
export interface DoneBefore {
  readonly curve: LossCurve;
  readonly evaluations: readonly LoggedEvaluation[];
  /** By `LoggedEvaluation.image`. */
  readonly pictures: ReadonlyMap<string, RgbImage>;
}

/** Who follows a run. */
export interface RunWatcher {
  /** Stops the run after the work under way. */
  readonly signal?: AbortSignal;
  /** Also be told what the slots hold: see AttackOptions. */
  readonly watchSlots?: boolean;
  /** Called before the first event of a run that is gone on with. */
  readonly onResume?: (done: DoneBefore) => void | Promise<void>;
  /** Called after an event was written down. @param logged the evaluation with its picture's place, if the event is one */
  readonly onEvent?: (event: AttackEvent, logged: LoggedEvaluation | undefined) => void | Promise<void>;
  /** Called with the original prompt's picture when this run has it. */
  readonly onDrawn?: (picture: DrawnPicture) => void;
  /** Called with the result before the report is written. */
  readonly onResult?: (result: AttackResult) => void;
  /** Told why the report of a run that did not finish could not be written. */
  readonly say?: (line: string) => void;
}
