import { describeUnlearnEstimate } from "../../unlearn/common/estimate.ts";
import type { UnlearnEvent } from "../../unlearn/run.ts";

/** A training step in log.jsonl. */
export interface StepLine {
  readonly step: number;
  readonly loss: number;
  /** All of the step's losses, where there are several. */
  readonly losses?: Readonly<Record<string, number>>;
  readonly learningRate: number;
  /** Since the run began, over all of its parts. */
  readonly seconds: number;
}

/** A preview in log.jsonl. */
export interface PreviewLine {
  /** Steps that were done before it; 0: of the model as it was. */
  readonly step: number;
  readonly prompt: string;
  /** Whether the prompt names an erased concept. */
  readonly erased: boolean;
  readonly seed: number;
  /** Path below the run's folder. */
  readonly image: string;
}

export type LogLine = StepLine | PreviewLine;

/** Whether a line is of a preview, not of a step. */
export function isPreview(line: LogLine): line is PreviewLine {
  return "image" in line;
}

/** @param before seconds spent before this part of the run */
export function stepLine({ step, loss, losses, learningRate, seconds }: Extract<UnlearnEvent, { type: "step" }>, before: number): StepLine {
  const several = Object.keys(losses).length > 1;
  return { step, loss, ...(several && { losses }), learningRate, seconds: Math.round(1000 * (before + seconds)) / 1000 };
}

/** Whether a JSON value is a line of log.jsonl. */
export function isLogLine(value: unknown): value is LogLine {
  const { step, loss, image, prompt } = (value ?? {}) as Partial<StepLine & PreviewLine>;
  return Number.isSafeInteger(step) && (typeof loss === "number" || (typeof image === "string" && typeof prompt === "string"));
}

const PHASES = {
  pictures: "drawing pictures to train on",
  mask: "finding the weights that matter",
  solving: "solving for the new weights",
  training: "training",
} as const;

/** What begins with an event, in words; undefined of a step, whose numbers say it. */
export function wordsOf(event: UnlearnEvent): string | undefined {
  if (event.type === "phase") return PHASES[event.phase];
  return event.type === "estimate" ? describeUnlearnEstimate(event.estimate) : undefined;
}
