/**
 * The public API of `lethe/quality`: what a model's pictures are worth beside real ones. Whoever only generates and attacks loads none of
 * it.
 */
export { quality } from "./quality/run.ts";
export { scored } from "./quality/scored.ts";
export { QUALITY_FILES } from "./quality/kinds.ts";
export type { PictureFile, QualityEvent, QualityOptions, QualityResult, SetName } from "./quality/kinds.ts";
export { FEATURE_OPTIONS, QUALITY_OPTIONS, SCORE_OPTIONS } from "./quality/option-table.ts";
export { parseCaptions, type Caption } from "./quality/captions.ts";
export { openFeatureNetwork } from "./open-network.ts";
export { classifierFeatures, inceptionFeatures, type FeatureNetwork } from "./feature-network.ts";
export { RECIPES, RECIPE_NAMES, type Recipe, type RecipeName } from "./recipes.ts";
export { ClipScorer, clipInterval, clipScore } from "./clip-score.ts";
export { distancesOf, type Distances, type ScoreOptions } from "./distance/scores.ts";
export { frechetDistance, takesEpsilon, REFERENCE_EPSILON, type FeatureSet, type Frechet } from "./distance/frechet.ts";
export { chooseRows, cleanSubsets, fidelitySubsets, kernelDistance, type Kid, type Subset } from "./distance/kid.ts";
export { RunningStatistics, float32Mean, mergeStatistics, statisticsOf, type Features, type Statistics } from "./distance/statistics.ts";
export { readStatistics, writeStatistics } from "./distance/statistics-file.ts";
export { Inception, loadInception } from "../vision/inception-model.ts";
export { loadClip, type Clip } from "../vision/clip.ts";
export { memoryStore, type Store } from "../formats/store.ts";
