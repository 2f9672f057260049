/**
 * The public API of `lethe/unlearn`: erasing concepts from a model, and training its weights. Whoever only generates and attacks loads
 * none of it.
 */
export { Trainer, type BatchOptions, type TrainerOptions } from "../train/trainer.ts";
export type { RecordedLoss, UpdateRule } from "../train/update.ts";
export { unlearn, DivergedError, type UnlearnEvent, type Unlearned } from "./run.ts";
export { METHODS, RECIPE_NAMES, isClosedForm, type MethodName, type RecipeName } from "./methods.ts";
export { UNLEARN_OPTIONS } from "./option-table.ts";
export { RECIPES, recipesOf, type Layout, type Recipe } from "./recipes.ts";
export {
  resolveUnlearn, type Pause, type ResumedTraining, type SavedTraining, type Settings, type TrainingPicture, type TrainingPictures,
  type UnlearnHooks, type UnlearnOptions,
} from "./options.ts";
export type { PhaseName } from "./training.ts";
export { TENSOR_RULES, allTensors, tensorsOf, type TensorRule, type TrainedList } from "./common/trained-tensors.ts";
export type { Draws } from "./common/draws.ts";
export { LAYOUTS, LAYOUT_NAMES, outputFiles, type Changed, type LayoutName } from "./files/layouts.ts";
export type { ModelFolder } from "./files/model-folder.ts";
export type { OutputFile } from "./files/output-file.ts";
export { joinPieces } from "../formats/store.ts";
export type { LazyTensor } from "../train/trained-tensors.ts";
export { describeUnlearnEstimate, estimateUnlearn, type UnlearnEstimate } from "./common/estimate.ts";
export { mergedLowRank, writtenChanges } from "./lora.ts";
export { averageDecayAt, learningRateAt } from "./common/schedule.ts";
export type { PictureBatch } from "./common/batch.ts";
export { Mask, signedGradients } from "./common/saliency.ts";
export { posteriorSample } from "../diffusion/steering/encode.ts";
export { PictureBatches } from "./common/pictures.ts";
export { SeededDraws } from "./common/draws.ts";
export type { UnlearnSession } from "./training.ts";
