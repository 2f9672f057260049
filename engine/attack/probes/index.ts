/**
 * `lethe/probes`: what asks a model whether a concept is still in it without searching a prompt, and what that is compared with. The
 * attackers themselves run through `attack` of `lethe`, by the names of PROBES.
 */
export { PROBES, type ProbeName } from "../attackers.ts";
export { CONTROLS, type Comparison, type Control, type ProbeResult, missingControls, probeResult } from "./controls.ts";
export { closedFormEncoding, normalSums, residual, type KeyOrValue, type NormalSums } from "./closed-form.ts";
export { trainClassifier } from "./latent-classifier.ts";
export type { ProbePictures } from "../options.ts";
export { createNoisyPlan, createSamplerPlan, entryOf, noiseLevelAt } from "../../diffusion/schedulers/index.ts";
export { denoise, type DenoiseOptions, type Predict } from "../../diffusion/steering/denoise.ts";
export { encodeSample, noised } from "../../diffusion/steering/encode.ts";
export { composed, composePredictions, guided, type WeightedPrompt } from "../../diffusion/steering/guided.ts";
export { keepOutside, latentMask, type Mask } from "../../diffusion/steering/inpaint.ts";
export { RENOISE, invert, memoraPlan, slerp, type InversionOptions } from "../../diffusion/steering/inversion.ts";
export { INVERSIONS, type Inversion } from "../../diffusion/steering/inversions.ts";
export { LatentClassifier, classifierGuided, type ClassifierWeights } from "../../diffusion/steering/latent-classifier.ts";
export { latentLoss, type LatentLoss, type LatentLossOptions } from "../../diffusion/steering/latent-loss.ts";
export { expectedLikelihood, negativeLogLikelihood, normalDistance, psnr } from "../../diffusion/steering/likelihood.ts";
export { Recall, recallTimesteps, type RecallDraws, type RecallOptions, type RecallState } from "../../diffusion/steering/recall.ts";
export { SAFREE, SAFREE_ARTIST, safree, type SafreeEncoding, type SafreeOptions } from "../../diffusion/steering/safree.ts";
export { switched } from "../../diffusion/steering/switched.ts";
