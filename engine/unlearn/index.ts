/** The public API of `lethe/unlearn`: training weights of a model in place. Whoever only generates and attacks loads none of it. */
export { Trainer, type BatchOptions, type TrainerOptions } from "../train/trainer.ts";
export type { RecordedLoss, UpdateRule } from "../train/update.ts";
