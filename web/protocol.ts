/** What the page and its Worker say to each other. Types only: both sides are checked against one table. */
import type { JudgeChoice, JudgeName } from "../engine/attack/judges/options.ts";
import type { AttackResult } from "../engine/attack/events.ts";
import type { SldStrength } from "../engine/diffusion/guidance.ts";
import type { WeightPrecision } from "../engine/nn/weight-layout.ts";
import type { SchedulerName } from "../engine/diffusion/schedulers/index.ts";
import type { Row } from "../engine/verify/index.ts";
import type { SelfTestRow } from "../engine/verify/self-test/index.ts";
import type { LoggedEvaluation } from "../engine/run/log.ts";
import type { AttackSettings } from "../engine/run/settings/settings.ts";
import type { RunStatus } from "../engine/run/record.ts";

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
  | { readonly type: "target"; readonly picture: Picture; readonly fitted: string }
  | { readonly type: "slots"; readonly slots: readonly Slot[] }
  | ({ readonly type: "files"; readonly status: RunStatus } & RunFiles);

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
  readonly images: readonly { readonly name: string; readonly file: Blob }[];
  /** "bundled": the real emoji that come with the page. */
  readonly real: readonly { readonly name: string; readonly file: Blob }[] | "bundled";
  /** A classifier among what can be loaded, or a file of Inception's weights. */
  readonly network: { readonly classifier: string } | { readonly name: string; readonly file: Blob };
  readonly recipe: string;
}

export interface Scores {
  readonly distanceName: "FID" | "Frechet distance";
  readonly features: string;
  readonly frechet: number;
  readonly interval: readonly [number, number] | null;
  readonly reference: { readonly value: number; readonly branch: string } | null;
  readonly kid: { readonly mean: number; readonly std: number; readonly subsets: number; readonly size: number } | null;
  readonly count: number;
  readonly realCount: number;
  readonly warnings: readonly string[];
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

/** Every call: what is asked, what comes back, and what is told on the way. */
export interface Calls {
  device: { readonly args: null; readonly result: DeviceReport; readonly news: never };
  entries: { readonly args: null; readonly result: readonly Entry[]; readonly news: never };
  drop: { readonly args: { readonly files: Readonly<Record<string, Blob>> }; readonly result: readonly Entry[]; readonly news: never };
  download: { readonly args: { readonly url: string; readonly sha256: string }; readonly result: Entry; readonly news: Progress };
  keep: { readonly args: { readonly id: string }; readonly result: Entry; readonly news: Progress };
  check: { readonly args: { readonly id: string }; readonly result: string; readonly news: Progress };
  remove: { readonly args: { readonly id: string }; readonly result: null; readonly news: never };
  storage: {
    readonly args: null;
    readonly result: { readonly used: number; readonly quota: number; readonly persistent: boolean; readonly opfs: boolean };
    readonly news: never;
  };
  need: { readonly args: Choice; readonly result: NeedReport; readonly news: Progress };
  labels: { readonly args: { readonly classifier: string }; readonly result: readonly string[]; readonly news: Progress };
  draw: {
    readonly args: DrawRequest;
    readonly result: Drawn;
    readonly news:
      | { readonly type: "step"; readonly done: number; readonly total: number }
      | { readonly type: "preview"; readonly picture: Picture }
      | ({ readonly type: "progress" } & Progress);
  };
  attack: { readonly args: AttackRequest; readonly result: AttackResult; readonly news: AttackNews };
  classify: { readonly args: ClassifyRequest; readonly result: readonly Classified[]; readonly news: Progress };
  erase: { readonly args: EraseRequest; readonly result: Erased; readonly news: EraseNews };
  quality: { readonly args: QualityRequest; readonly result: Scores; readonly news: Progress };
  unfinished: { readonly args: null; readonly result: Unfinished | null; readonly news: never };
  resume: { readonly args: null; readonly result: AttackResult; readonly news: AttackNews };
  discard: { readonly args: null; readonly result: null; readonly news: never };
  verify: {
    readonly args: { readonly model: boolean };
    readonly result: { readonly ok: boolean; readonly rows: readonly Row[] };
    readonly news: Row;
  };
  selfTest: {
    readonly args: null;
    readonly result: readonly SelfTestRow[];
    readonly news: { readonly row: SelfTestRow; readonly done: number; readonly total: number };
  };
  bench: { readonly args: null; readonly result: readonly BenchRow[]; readonly news: BenchRow };
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
