import { estimateRun } from "../../diffusion/estimate-run.ts";
import { formatBytes } from "../../runtime/plan/estimate.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { Training, UnlearnSession } from "../training.ts";

/** Device memory of a training, from its graphs alone: nothing has been read or allocated for it. */
export interface TrainingEstimate {
  /** The model's weights, once. */
  readonly modelBytes: number;
  /** The trained weights beside them, and what the optimiser keeps. */
  readonly trainedBytes: number;
  /** To work in: prediction, gradient, and drawing a picture. */
  readonly workingBytes: number;
  /** The gradient computes parts of its forward pass twice, to stay within the device's limit. */
  readonly recomputing: boolean;
}

/** @throws UsageError if it fits the device's memory limit by no plan */
export function estimateTraining({ base, settings }: UnlearnSession, { trainer, programs = [""] }: Training): TrainingEstimate {
  const { factor } = base.parts.vae.config;
  const [height, width] = settings.latentSize.map((n) => n * factor) as [number, number];
  const model = estimateRun(base, { width, height, rows: 2, pictures: 1, attackRows: 0 });
  const limit = base.device.memoryLimit;
  let needed = Infinity;
  for (const recomputing of [false, true]) {
    const parts = programs.map((loss) => trainer.ownEstimate(recomputing, loss));
    const trainedBytes = Math.max(...parts.map((p) => p.trainedBytes));
    // Programs share the memory they work in: the largest counts.
    const workingBytes = model.workingBytes + Math.max(...parts.map((p) => p.workingBytes));
    needed = Math.min(needed, model.weightBytes + trainedBytes + workingBytes);
    if (needed <= limit) return { modelBytes: model.weightBytes, trainedBytes, workingBytes, recomputing };
  }
  throw new UsageError(
    `not enough memory: the training needs about ${formatBytes(needed)} on ${base.device.description}, whose limit is ` +
      `${formatBytes(limit)}; take a method or --tensors that trains less, --weights f16, a smaller --size or --batch`,
  );
}

/** In words. */
export function describeTraining({ modelBytes, trainedBytes, workingBytes, recomputing }: TrainingEstimate): string {
  const [all, model, trained, working] = [modelBytes + trainedBytes + workingBytes, modelBytes, trainedBytes, workingBytes].map(formatBytes);
  const twice = recomputing ? "; to stay within the limit, gradients compute parts of their forward pass twice" : "";
  return `needs about ${all} of device memory: ${model} of the model's weights, ${trained} of trained ones and their optimiser, ` +
    `${working} to work in${twice}`;
}
