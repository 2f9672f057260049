import { comparesWithOriginal, readsOriginalText } from "../attack/attackers.ts";
import type { AttackEvent, AttackResult } from "../attack/events.ts";
import type { OpenJudge } from "../attack/judges/open.ts";
import { ATTACK_OPTIONS } from "../attack/option-table.ts";
import type { AttackCase, AttackOptions, DrawnPicture, PromptPainter, TransferCandidate } from "../attack/options.ts";
import type { ConceptPair } from "../attack/search/concept-vector.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import { pick } from "../options/values.ts";
import type { RunFiles } from "./files.ts";
import type { LoggedEvaluation } from "./log.ts";
import type { RunRecord } from "./record.ts";
import type { ReportExtras } from "./report/data.ts";
import type { AttackSettings } from "./settings/settings.ts";
import type { LossCurve, SavedState } from "./state.ts";
import type { Target } from "./target.ts";

/** What an attack needs besides its settings, opened. */
export interface RunParts {
  readonly judge: OpenJudge;
  readonly target?: Target | undefined;
  /** p4d, ring-a-bell, and judges that compare with it: the model before unlearning. */
  readonly original?: StableDiffusion | undefined;
  /** Universal: the prompts and their pictures. */
  readonly cases?: readonly AttackCase[] | undefined;
  /** ring-a-bell. */
  readonly conceptPairs?: readonly ConceptPair[] | undefined;
  /** transfer: what is tried. */
  readonly candidates?: readonly TransferCandidate[] | undefined;
  /** What draws instead of the model. */
  readonly draw?: PromptPainter | undefined;
  /** Probes. */
  readonly probe?: ProbeParts | undefined;
  /** The original prompt's picture, if another run has drawn it. */
  readonly drawn?: DrawnPicture | undefined;
}

/** What probes and their controls work with: see AttackOptions. */
export type ProbeParts = Pick<AttackOptions, "controlModel" | "controlPicture" | "mask" | "probePictures">;

/** A run ready to start: everything has been opened and checked. */
export interface PreparedRun extends RunParts {
  readonly model: StableDiffusion;
  readonly files: RunFiles;
  readonly record: RunRecord;
  /** Where an interrupted run stood that is gone on with. */
  readonly saved?: SavedState | undefined;
  readonly extras: ReportExtras;
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

/** The engine's options for a run's settings. */
export function attackOptions(settings: AttackSettings, { judge, target, original, probe, ...parts }: RunParts): AttackOptions {
  const { attacker, prompt, seed, gate, gateMargin, gateSamples } = settings;
  const given = Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined)) as Pick<
    AttackOptions,
    "cases" | "conceptPairs" | "candidates" | "drawn" | "draw"
  >;
  return {
    ...pick(ATTACK_OPTIONS, settings),
    attacker,
    prompt,
    seed,
    judge: judge.judge,
    ...given,
    ...(target && { target: target.array }),
    ...(original && (comparesWithOriginal(attacker) || readsOriginalText(attacker)) && { original }),
    ...probe,
    ...(gate !== null && { gate: { margin: gateMargin, samples: gateSamples } }),
  };
}
