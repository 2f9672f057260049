import type { AttackResult } from "../../attack/events.ts";
import type { Judgement } from "../../attack/judges/judgement.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import type { LoggedEvaluation } from "../log.ts";
import type { RunRecord } from "../record.ts";

/** One prompt that was tried, for reports of several attacks. */
export type Attempt = Pick<
  AttackResult, "prompt" | "seed" | "success" | "preSuccess" | "iterations" | "label" | "score" | "adversarialPrompt"
>;

/** What a report may show besides the run itself. */
export interface ReportExtras {
  /** Pictures are shown at once instead of blurred. */
  readonly showImages: boolean;
  /** Prompts found for a harmful concept are named: see `redact.ts`. */
  readonly showPrompts?: boolean;
  /** What the evaluation's file says of the concept. Left out, the judge decides. */
  readonly harmful?: boolean;
  /** What the model drew for the prompt before it was made to forget. */
  readonly originalModel?: { readonly name: string; readonly image: RgbImage; readonly judgement: Judgement };
  /** All attacks tried, this one last. */
  readonly attempts?: readonly Attempt[];
}

export interface ReportData {
  readonly record: RunRecord;
  readonly evaluations: readonly LoggedEvaluation[];
  /** By `LoggedEvaluation.image`. */
  readonly pictures: ReadonlyMap<string, RgbImage>;
  readonly curve: { readonly losses: readonly number[]; readonly timesteps: readonly number[] };
  readonly target: RgbImage | undefined;
  readonly extras: ReportExtras;
}
