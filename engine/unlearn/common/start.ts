import type { StableDiffusionPipeline } from "../../diffusion/pipeline.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { HostArray } from "../../runtime/program.ts";
import type { StateKind } from "../../train/state.ts";
import { Trainer, type TrainerOptions } from "../../train/trainer.ts";
import type { RecordedLoss } from "../../train/update.ts";
import { type ComponentName, type VariantOptions, variantOf } from "../../train/variant.ts";
import type { Settings } from "../options.ts";
import { type UnlearnSession, savedWeights } from "../training.ts";
import { averageDecayAt, learningRateAt } from "./schedule.ts";
import { type TrainedList, tensorsOf } from "./trained-tensors.ts";

/** The trained model, what trains it, and how a step is queued. */
export interface Started {
  readonly model: StableDiffusionPipeline;
  readonly trainer: Trainer;
  readonly trained: readonly TrainedList[];
  /** Queues an update with the step's learning rate. @param index of the step, from 0 */
  readonly update: (index: number, inputs: Readonly<Record<string, HostArray>>, loss?: string) => Promise<void>;
  readonly destroy: () => Promise<void>;
}

/** Numbers of the optimiser besides the learning rate. */
export interface Optimiser
  extends Pick<VariantOptions, "apart" | "adapters">, Pick<TrainerOptions, "clipNorm" | "batches" | "average" | "masked"> {
  /** "l2": Adam, which the methods use without decay. "decoupled": AdamW. Default "l2". */
  readonly decay?: TrainerOptions["decay"];
  /** With `adapters`: their tensors. */
  readonly trained?: readonly TrainedList[];
}

/** The bound of the gradient's norm, as a trainer takes it: none where it is 0 or not one of the recipe's numbers. */
export function clipping({ clip }: Pick<Settings, "clip">): Pick<TrainerOptions, "clipNorm"> {
  return clip === null || clip === 0 ? {} : { clipNorm: clip };
}

/**
 * A variant of the session's model that has the recipe's tensors for itself, and a trainer of them.
 * @param record the loss, with the variant
 * @param start numbers that states begin with, besides those of a training that goes on
 */
export async function startTraining(
  session: UnlearnSession,
  record: (g: Graph, model: StableDiffusion, loss: string) => RecordedLoss,
  { decay = "l2", apart, adapters, trained = [tensorsOf(session.base, session.settings.rule!)], ...rule }: Optimiser = {},
  start?: TrainerOptions["start"],
): Promise<Started> {
  const { base, settings, resume, hooks, signal } = session;
  const wanted = new Map<string, ReadonlySet<string>>(trained.map(({ component, tensors }) => [component, new Set(tensors)]));
  const trains = (tensor: string, component: string): boolean => wanted.get(component)?.has(tensor) === true;
  const source = (component: ComponentName): ReturnType<typeof savedSource> => savedSource(session, component);
  const model = variantOf(base, { owns: trains, source, ...(apart && { apart }), ...(adapters && { adapters }) });
  const trainer = new Trainer(model, {
    name: "unlearn", decay, ...rule, trains,
    owners: Object.values(adapters ?? {}).map(({ parameters }) => parameters),
    watch: hooks.onUpdate !== undefined,
    record: (g, loss) => record(g, model, loss),
    start: (kind: StateKind, component) => savedWeights(resume, kind, component) ?? start?.(kind, component),
    updates: resume ? Number((resume.json as { updates?: unknown }).updates) : 0,
  });
  const weightDecay = settings.weightDecay ?? 0;
  return {
    model, trainer,
    trained,
    async update(index, inputs, loss = "") {
      const { steps } = trainer;
      const averageDecay = settings.averageDecay === null ? undefined : averageDecayAt(settings, steps + 1);
      const adam = { lr: learningRateAt(settings, index), weightDecay };
      await trainer.step(inputs, { adam, loss, signal, ...(averageDecay !== undefined && { averageDecay }) });
      await hooks.observe?.("loss", async () => ({ data: Float32Array.of(await trainer.loss()), shape: [1] }));
      if (trainer.steps > steps) await hooks.onUpdate?.(trainer);
    },
    async destroy() {
      trainer.destroy();
      await model.destroy();
    },
  };
}

/** The model's weights with those of a training that goes on. */
function savedSource({ base, resume }: UnlearnSession, component: ComponentName): ReturnType<typeof savedWeights> {
  const part = component === "unet" ? base.parts.unet : base.parts.textEncoder;
  return savedWeights(resume, "weight", component, part.parameters.source);
}
