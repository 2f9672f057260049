import type { StableDiffusionPipeline } from "../diffusion/pipeline.ts";
import type { WeightSource } from "../nn/parameters.ts";
import type { Trainer } from "../train/trainer.ts";
import type { LazyTensor } from "../train/trained-tensors.ts";
import type { ResumedTraining, Settings, TrainingPictures, UnlearnHooks } from "./options.ts";
import type { Draws } from "./common/draws.ts";
import type { TrainedList } from "./common/trained-tensors.ts";

/** What a method works with. */
export interface UnlearnSession {
  /** The model as it was given; it stays so. */
  readonly base: StableDiffusionPipeline;
  readonly settings: Settings;
  readonly images: TrainingPictures;
  readonly mask?: WeightSource | undefined;
  readonly draws: Draws;
  readonly hooks: UnlearnHooks;
  readonly resume?: ResumedTraining | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Tells of a part of the work that has begun. */
  readonly phase: (name: PhaseName) => Promise<void>;
}

/** What a run does besides training steps. */
export type PhaseName = "pictures" | "mask" | "solving" | "training";

/** A method's training, made ready. */
export interface Training {
  /** The model with the weights as trained so far. */
  readonly model: StableDiffusionPipeline;
  readonly trainer: Trainer;
  /** What is trained. */
  readonly trained: readonly TrainedList[];
  /** Which losses a step gives, in their order; the first is the step's own. */
  readonly losses: readonly string[];
  /** Names of the losses that its updates follow, as `Trainer.step` takes them; default: one, "". */
  readonly programs?: readonly string[];
  /** Queues step number `index`, from 0. */
  readonly step: (index: number) => Promise<void>;
  /** What a saved state has besides the trainer's, as JSON; put in again by the method's start from `session.resume`. */
  readonly save?: () => Promise<unknown>;
  /** What has changed, where that is not the trainer's weights. */
  readonly changed?: () => readonly LazyTensor[];
  readonly destroy: () => Promise<void>;
}

/** A method whose weights are computed at once. */
export interface Solved {
  readonly model: StableDiffusionPipeline;
  readonly trained: readonly TrainedList[];
  readonly changed: readonly LazyTensor[];
}

export type StartTraining = (session: UnlearnSession) => Promise<Training>;
export type Solve = (session: UnlearnSession) => Promise<Solved>;

/** Numbers by the names that a saved training has, as a component's weights of one kind; undefined where it has none. */
export function savedWeights(
  resume: ResumedTraining | undefined,
  kind: string,
  component: string,
  base?: WeightSource,
): WeightSource | undefined {
  if (!resume) return undefined;
  const { tensors } = resume;
  const saved = (tensor: string): string => `${component}/${kind}/${tensor}`;
  const has = (tensor: string): boolean => tensors.shape(saved(tensor)) !== undefined;
  if (![...tensors.names()].some((name) => name.startsWith(saved("")))) return undefined;
  return {
    name: tensors.name,
    names: () => [...tensors.names()].flatMap((n) => (n.startsWith(saved("")) ? [n.slice(saved("").length)] : [])),
    shape: (tensor, expected) => tensors.shape(saved(tensor)) ?? base?.shape(tensor, expected),
    readFloat32: (tensor) => (has(tensor) || !base ? tensors.readFloat32(saved(tensor)) : base.readFloat32(tensor)),
  };
}
