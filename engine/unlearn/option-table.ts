import { SEED_RANGE, choice, flag, number, text, whole } from "../options/option.ts";
import { METHODS, type MethodName, RECIPE_NAMES, isClosedForm } from "./methods.ts";
import { TENSOR_RULES } from "./common/trained-tensors.ts";

const ESD = ["esd", "esd-x", "esd-u"] as const satisfies readonly MethodName[];
const ADVERSARIAL = ["advunlearn"] as const satisfies readonly MethodName[];
/** Those that sample a part of a trajectory to have something to train on. */
const TRAJECTORIES = [...ESD, ...ADVERSARIAL] as const;
const CLOSED = METHODS.filter(isClosedForm);
const TRAINED = METHODS.filter((m) => !isClosedForm(m));
/** Those that are shown pictures. */
const PICTURES = ["salun", "concept-ablation", "forget-me-not", "finetune", "lora"] as const satisfies readonly MethodName[];

const RECIPE = "the recipe's";

/**
 * What every erasing method is told, besides concepts, retained prompts and pictures. Where no default is said, it is the recipe's: see
 * `RECIPES`.
 */
export const UNLEARN_OPTIONS = {
  method: choice(METHODS, { default: "esd-x", help: "how the concept is erased" }),
  recipe: choice(RECIPE_NAMES, {
    default: null, defaultNote: "the method's first", help: "published version, with its own numbers and quirks",
  }),
  anchor: text({
    default: null,
    of: ["uce", "rece", "concept-ablation", "salun"],
    defaultNote: "uce, rece: nothing, the empty prompt",
    help: "what the concept is turned into",
  }),
  eraseFrom: text({ default: null, of: ESD, help: "esd-2025, esd-xl-2025: what the concept is erased from, such as a wider class" }),
  tensors: choice(TENSOR_RULES, {
    default: null, defaultNote: RECIPE, of: ["esd", "salun", "concept-ablation", "forget-me-not", "finetune"],
    help: "which weights are trained",
  }),
  steps: whole({ default: null, min: 1, defaultNote: RECIPE, of: [...TRAINED, "rece"], help: "training steps; rece: rounds" }),
  learningRate: number({ default: null, min: 0, above: true, defaultNote: RECIPE, of: TRAINED, value: "r", help: "of Adam" }),
  schedule: choice(["constant", "linear", "cosine"], {
    default: null, defaultNote: RECIPE, of: TRAINED, help: "of the learning rate after warm-up: as it is, or falling to 0",
  }),
  warmupSteps: whole({ default: null, min: 0, defaultNote: RECIPE, of: TRAINED, help: "steps in which the learning rate rises from 0" }),
  weightDecay: number({ default: null, min: 0, defaultNote: RECIPE, of: PICTURES, value: "d", help: "of AdamW" }),
  clip: number({
    default: null, min: 0, defaultNote: RECIPE, of: PICTURES, value: "norm",
    help: "bound of the gradient's norm; 0: none, so that not all gradients are in memory at once",
  }),
  batch: whole({ default: null, min: 1, max: 1024, defaultNote: RECIPE, of: PICTURES, help: "pictures of a training batch" }),
  accumulate: whole({ default: null, min: 1, max: 64, defaultNote: RECIPE, of: ["finetune", "lora"], help: "batches of one step" }),
  averageDecay: number({
    default: null, min: 0, max: 1, of: ["finetune"], value: "d",
    help: "also keep an average of the weights (EMA) and give it as the result",
  }),
  averageWarmup: flag({ of: ["finetune"], help: "the average's decay begins at 0 and rises, as in diffusers' EMAModel" }),
  guidance: number({
    default: null, min: 0, defaultNote: RECIPE, of: [...TRAJECTORIES, "salun"], value: "scale",
    help: "guidance of the trajectories; salun: of the mask's prediction",
  }),
  negativeGuidance: number({
    default: null, defaultNote: RECIPE, of: TRAJECTORIES, value: "scale", help: "how far the prediction is led away from the concept",
  }),
  samplingSteps: whole({ default: null, min: 2, max: 1000, defaultNote: RECIPE, of: TRAJECTORIES, help: "steps of a whole trajectory" }),
  technique: choice(["replace", "tensor"], {
    default: null, defaultNote: RECIPE, of: ["uce"],
    help: "uce-2023: the concept's value is the anchor's, or is made free of the concept's",
  }),
  lamb: number({ default: null, min: 0, above: true, defaultNote: RECIPE, of: CLOSED, help: "weight of the unedited weights" }),
  eraseScale: number({ default: null, min: 0, above: true, defaultNote: RECIPE, of: CLOSED, help: "weight of the concepts" }),
  preserveScale: number({
    default: null, min: 0, defaultNote: "the recipe's; uce-2023: 1 / number of retained, at least 0.1", of: CLOSED,
    help: "weight of the retained prompts",
  }),
  regularScale: number({ default: null, min: 0, above: true, defaultNote: RECIPE, of: ["rece"], help: "how small the found embedding is" }),
  alpha: number({
    default: null, min: 0, defaultNote: RECIPE, of: ["salun", "lora"], help: "salun: weight of the retained; lora: scale times rank",
  }),
  maskShare: number({
    default: null, min: 0, max: 1, above: true, defaultNote: RECIPE, of: ["salun"], value: "share",
    help: "share of the weights that may move",
  }),
  unmasked: flag({ of: ["salun"], help: "let all weights move" }),
  attack: choice(["pgd", "fast", "text-grad", "cce"], {
    default: null, defaultNote: RECIPE, of: ADVERSARIAL,
    help: "inner attack: on embeddings by gradients or their signs, as published, or Lethe's own search for tokens or an embedding",
  }),
  attackSteps: whole({ default: null, min: 1, defaultNote: RECIPE, of: ADVERSARIAL, help: "steps of the inner attack" }),
  attackLearningRate: number({ default: null, min: 0, above: true, defaultNote: RECIPE, of: ADVERSARIAL, value: "r", help: "of its Adam" }),
  attackTokens: whole({
    default: null, min: 1, max: 70, defaultNote: RECIPE, of: ADVERSARIAL, value: "k", help: "embeddings it may choose",
  }),
  attackInit: choice(["latest", "random"], { default: null, defaultNote: RECIPE, of: ADVERSARIAL, help: "what an attack starts from" }),
  attackEvery: whole({
    default: null, min: 1, defaultNote: RECIPE, of: ADVERSARIAL, help: "steps between two attacks, which share what was found",
  }),
  attackWarmup: whole({ default: null, min: 0, defaultNote: RECIPE, of: ADVERSARIAL, help: "steps before the first attack" }),
  retainMode: choice(["iter", "reg"], {
    default: null, defaultNote: RECIPE, of: ADVERSARIAL, help: "retained prompts have steps of their own, or a part of the loss",
  }),
  retainWeight: number({ default: null, min: 0, defaultNote: RECIPE, of: ADVERSARIAL, help: "reg: weight of that part" }),
  retainBatch: whole({ default: null, min: 1, max: 64, defaultNote: RECIPE, of: ADVERSARIAL, help: "retained prompts in a step" }),
  priorWeight: number({
    default: null, min: 0, defaultNote: RECIPE, of: ["concept-ablation"], help: "weight of retained pictures; 0: they are not used",
  }),
  pooler: choice(["on", "off"], {
    default: null, defaultNote: RECIPE, of: ["forget-me-not"], help: "also steer away from every end of text",
  }),
  adaptText: flag({ of: ["lora"], help: "add to the text encoder's attention too" }),
  rank: whole({ default: null, min: 1, max: 1024, defaultNote: RECIPE, of: ["lora"], help: "of the added matrices" }),
  pictures: whole({ default: null, min: 1, defaultNote: RECIPE, of: PICTURES, help: "pictures drawn from the model where none are given" }),
  size: whole({ default: null, min: 8, defaultNote: "the model's own", help: "side of the training pictures in pixels" }),
  seed: whole({ default: 0, ...SEED_RANGE, help: "of all that is drawn, as torch's CPU generator" }),
};
