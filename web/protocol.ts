/** What the page and its Worker say to each other. Types only: both sides are checked against one table. */
import type { JudgeChoice, JudgeName } from "../engine/attack/judges/options.ts";
import type { AttackResult } from "../engine/attack/events.ts";
import type { SldStrength } from "../engine/diffusion/guidance.ts";
import type { WeightPrecision } from "../engine/nn/weight-layout.ts";
import type { SchedulerName } from "../engine/diffusion/schedulers/index.ts";
import type { Distances } from "../engine/metrics/index.ts";
import type { Row, VerifyResult } from "../engine/verify/index.ts";
import type { SelfTestRow } from "../engine/verify/self-test/index.ts";
import type { LoggedEvaluation } from "../engine/run/log.ts";
import type { AttackSettings } from "../engine/run/settings/settings.ts";

/** A picture as a file that the browser decodes beside its main thread. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly file: Blob;
}

/**
 * "model": a folder or a checkpoint; "overlay": weights laid over a model's UNet or text encoder; "classifier", "clip", "detector" and
 * "prompts" (Q16's): what judges use; "unfinished": a download that was cut off.
 */
export type EntryKind = "model" | "overlay" | "classifier" | "clip" | "detector" | "prompts" | "unfinished";

/** Something that can be loaded. */
export interface Entry {
  /** Its path, as the Worker's files have it. */
  readonly id: string;
  readonly name: string;
  readonly kind: EntryKind;
  /** What an overlay is laid over. */
  readonly part: "unet" | "textEncoder";
  /** "bundled" comes with the page, "stored" is kept in this browser, "dropped" lasts as long as the page. */
  readonly origin: "bundled" | "stored" | "dropped";
  /** Where it came from, or what is known of it. */
  readonly detail: string;
  readonly bytes: number;
  /** Bytes of it that this browser keeps. */
  readonly keptBytes: number;
  readonly files: number;
  /** Of an unfinished download: what it is gone on with. */
  readonly download?: { readonly url: string; readonly sha256: string };
}

/** Which weights to compute with. */
export interface Choice {
  readonly model: string;
  /** Weights laid over it, such as an unlearned UNet. */
  readonly overlay: string | null;
  readonly weights: WeightPrecision;
}

export interface DeviceReport {
  /** Lethe's. */
  readonly version: string;
  readonly description: string;
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  readonly subgroupSize: number;
  /** Which variants it computes with, in words. */
  readonly kernels: string;
}

export interface NeedReport {
  readonly weightBytes: number;
  /** Device memory for drawing a picture, and for an attack, weights included. */
  readonly drawBytes: number;
  readonly attackBytes: number;
  /** Why the model cannot run on this device; empty if it can. */
  readonly refusal: string;
  readonly imageSize: readonly [number, number];
}

export interface DrawRequest {
  readonly choice: Choice;
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly steps: number;
  readonly scheduler: SchedulerName;
  readonly guidance: number;
  readonly seed: number;
  readonly sld: SldStrength | null;
  readonly safree: string | null;
  readonly preview: boolean;
}

export interface Drawn {
  readonly picture: Picture;
  readonly png: Blob;
  readonly seconds: number;
  readonly peakBytes: number;
  readonly scheduler: SchedulerName;
}

/** Who judges; `choice.model` and `choice.prompts` are ids of entries, but for diffusion, whose prompts are the text itself. */
export interface JudgeRequest {
  readonly name: JudgeName;
  readonly choice: JudgeChoice;
}

export interface NamedFile {
  readonly name: string;
  readonly file: Blob;
}

export interface AttackRequest {
  readonly choice: Choice;
  readonly settings: AttackSettings;
  readonly judge: JudgeRequest;
  readonly target: NamedFile | null;
  /** transfer: the log of the run whose prompts are tried. */
  readonly from: NamedFile | null;
  /** ring-a-bell: prompts with the concept and without. */
  readonly pairs: NamedFile | null;
  /** Probes of a picture: an unrelated one. */
  readonly control: NamedFile | null;
  readonly showImages: boolean;
}

/** Which of some prompts describes a picture best, by the model itself. */
export interface ClassifyRequest {
  readonly choice: Choice;
  readonly picture: NamedFile;
  /** One a line. */
  readonly prompts: string;
  readonly seed: number;
}

/** A prompt with its mean error; the smallest of those that were kept to the end wins. */
export interface Classified {
  readonly prompt: string;
  readonly error: number;
  readonly best: boolean;
  /** Timesteps that it was tried at. */
  readonly tried: number;
}

/** One adversarial slot: its likeliest tokens and how much weight each has. */
export type Slot = readonly { readonly piece: string; readonly share: number }[];

export type AttackNews =
  | { readonly type: "phase"; readonly text: string }
  | {
      readonly type: "start";
      readonly totalIterations: number;
      readonly iteration: number;
      readonly label: string;
      readonly resumed: boolean;
      readonly settings: AttackSettings;
    }
  | { readonly type: "losses"; readonly timestep: number; readonly losses: readonly number[] }
  | { readonly type: "sampling"; readonly step: number; readonly steps: number }
  | { readonly type: "evaluation"; readonly evaluation: LoggedEvaluation; readonly picture: Picture | null }
  | { readonly type: "target"; readonly picture: Picture }
  | { readonly type: "slots"; readonly slots: readonly Slot[] }
  | ({ readonly type: "files" } & RunFiles);

/** What a run leaves, as the command line leaves it. */
export interface RunFiles {
  readonly report: Blob;
  readonly log: Blob;
  readonly record: Blob;
  /** cce: the word it learned, for the command line's `generate --embedding`. */
  readonly learned: Blob | null;
}

export interface EraseRequest {
  readonly choice: Choice;
  readonly method: "esd-x" | "uce";
  readonly concept: string;
  /** Prompts that are to stay. */
  readonly retain: readonly string[];
  /** Of training. */
  readonly steps: number;
  readonly learningRate: number;
}

export type EraseNews =
  | { readonly type: "phase"; readonly text: string }
  | { readonly type: "step"; readonly step: number; readonly steps: number; readonly loss: number }
  | { readonly type: "preview"; readonly step: number; readonly prompt: string; readonly erased: boolean; readonly picture: Picture };

/** An erased model's weights: among what can be loaded, and as files. */
export interface Erased {
  readonly entry: Entry;
  readonly file: Blob;
  readonly report: Blob;
  readonly seconds: number;
  readonly steps: number;
}

/** Pictures of two small folders, and what compares them. */
export interface QualityRequest {
  readonly images: readonly NamedFile[];
  /** "bundled": the real emoji that come with the page. */
  readonly real: readonly NamedFile[] | "bundled";
  /** A classifier among what can be loaded, or a file of Inception's weights. */
  readonly network: { readonly classifier: string } | NamedFile;
  readonly recipe: string;
}

export interface Scores {
  readonly distanceName: "FID" | "Frechet distance";
  readonly features: string;
  readonly distances: Distances;
  readonly count: number;
  readonly realCount: number;
  readonly seconds: number;
}

export interface Unfinished {
  readonly settings: AttackSettings;
  readonly started: string;
  readonly iteration: number;
  readonly evaluations: number;
  /** What must be given again before the run can go on; empty if nothing. */
  readonly missing: string;
}

export interface BenchRow {
  readonly name: string;
  readonly kernels: string;
  readonly milliseconds: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

export interface Progress {
  readonly text: string;
  /** 0 to 1; undefined where it is not known. */
  readonly done?: number;
}

/** A call: what is asked, what comes back, and what is told on the way. */
interface Call<Args, Result, News = never> {
  readonly args: Args;
  readonly result: Result;
  readonly news: News;
}

export type DrawNews =
  | { readonly type: "step"; readonly done: number; readonly total: number }
  | { readonly type: "preview"; readonly picture: Picture }
  | ({ readonly type: "progress" } & Progress);

type ById = { readonly id: string };

export interface Calls {
  device: Call<null, DeviceReport>;
  entries: Call<null, readonly Entry[]>;
  drop: Call<{ readonly files: Readonly<Record<string, Blob>> }, readonly Entry[]>;
  download: Call<{ readonly url: string; readonly sha256: string }, Entry, Progress>;
  keep: Call<ById, Entry, Progress>;
  check: Call<ById, string, Progress>;
  remove: Call<ById, null>;
  storage: Call<null, { readonly used: number; readonly quota: number; readonly persistent: boolean; readonly opfs: boolean }>;
  need: Call<Choice, NeedReport, Progress>;
  labels: Call<{ readonly classifier: string }, readonly string[], Progress>;
  draw: Call<DrawRequest, Drawn, DrawNews>;
  attack: Call<AttackRequest, AttackResult, AttackNews>;
  classify: Call<ClassifyRequest, readonly Classified[], Progress>;
  erase: Call<EraseRequest, Erased, EraseNews>;
  quality: Call<QualityRequest, Scores, Progress>;
  unfinished: Call<null, Unfinished | null>;
  resume: Call<null, AttackResult, AttackNews>;
  discard: Call<null, null>;
  verify: Call<null, VerifyResult, Row>;
  selfTest: Call<null, readonly SelfTestRow[], { readonly row: SelfTestRow; readonly done: number; readonly total: number }>;
  bench: Call<null, readonly BenchRow[], BenchRow>;
}

export type CallName = keyof Calls;

/** To the Worker: a call, or word to one under way. */
export type ToWorker =
  | { readonly id: number; readonly call: CallName; readonly args: unknown }
  | { readonly id: number; readonly cancel: true }
  | { readonly id: number; readonly pause: boolean };

/** What went wrong: the error's class decides what the page advises. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}

export type FromWorker =
  | { readonly id: number; readonly news: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: Failure }
  | { readonly lost: string };
