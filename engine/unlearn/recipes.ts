import type { Given } from "../options/option.ts";
import type { MethodName, RecipeName } from "./methods.ts";
import type { UNLEARN_OPTIONS } from "./option-table.ts";
import type { TensorRule } from "./common/trained-tensors.ts";

/** How a method's authors write what they made. */
export type Layout =
  /** The whole UNet in a torch file, under diffusers' names. */
  | "unet-pt"
  /** Only what was trained, under diffusers' names. */
  | "partial-safetensors"
  /** The text encoder in a torch file, under the names of AdvUnlearn's wrapper. */
  | "text-encoder-pt"
  /** `{unet: {name: tensor}}` of what was trained, in a torch file. */
  | "delta-bin"
  /** A folder of one component, as diffusers and transformers save it. */
  | "component-folder"
  /** A folder of the whole model, as diffusers saves it. */
  | "pipeline-folder"
  /** A low-rank adapter. */
  | "lora-safetensors";

/** Of models: Stable Diffusion 1 and 2, or XL. */
export type Family = "sd" | "sdxl";

/** A published version of a method. */
export interface Recipe {
  readonly methods: readonly MethodName[];
  readonly paper: string;
  /** Whose code its numbers and quirks are those of: repository, file, commit. The lines of its defaults are said at the recipe. */
  readonly code: string;
  readonly defaults: Given<typeof UNLEARN_OPTIONS>;
  /** Which tensors a method trains or edits under this recipe; `tensors` may say otherwise for methods that have the option. */
  readonly trains: Readonly<Partial<Record<MethodName, TensorRule>>>;
  /** What `tensors` may be. */
  readonly rules?: readonly TensorRule[];
  readonly layout: Layout;
  /** Kinds of prediction that its code is made for. */
  readonly predictions: readonly ("epsilon" | "v_prediction")[];
  /** What its code is made for. */
  readonly families: readonly Family[];
  /** Defaults where these tensors are trained. */
  readonly training?: Readonly<Partial<Record<TensorRule, Given<typeof UNLEARN_OPTIONS>>>>;
}

const PLAIN = { schedule: "constant", warmupSteps: 0 } as const;
const BOTH = ["epsilon", "v_prediction"] as const;
const NOISE = ["epsilon"] as const;
const SD = ["sd"] as const;
const ANY = ["sd", "sdxl"] as const;

/** AdvUnlearn.py:226-261. */
const ADVUNLEARN = {
  ...PLAIN, steps: 1000, learningRate: 1e-5, guidance: 3, negativeGuidance: 1, samplingSteps: 50,
  attack: "pgd", attackSteps: 30, attackLearningRate: 1e-3, attackTokens: 1, attackInit: "latest", attackEvery: 1, attackWarmup: 200,
  retainMode: "iter", retainWeight: 1, retainBatch: 5,
} as const;
const ADVUNLEARN_PAPER = "Zhang et al., Defensive Unlearning with Adversarial Training, arXiv 2405.15234";
const SALUN_PAPER = "Fan et al., SalUn, arXiv 2310.12508";
const ESD_PAPER = "Gandikota et al., Erasing Concepts from Diffusion Models, arXiv 2303.07345";
const RECE_PAPER = "Gong et al., Reliable and Efficient Concept Erasure, arXiv 2407.12383";
const UCE_PAPER = "Gandikota et al., Unified Concept Editing in Diffusion Models, arXiv 2308.14761";
/**
 * random_label.py:225-250, generate_mask.py:78 and 227-236. Its code counts epochs over a class's pictures (5; nsfw_removal.py 1):
 * 500 steps of 8 stand for 5 epochs of 800 pictures.
 */
const SALUN = {
  ...PLAIN, steps: 500, learningRate: 1e-5, alpha: 0.1, batch: 8, maskShare: 0.5, guidance: 7.5, pictures: 32,
} as const;

/** Every published version, in the order in which a method takes its default. */
export const RECIPES: Readonly<Record<RecipeName, Recipe>> = {
  // esd_sd.py:56-62
  "esd-2025": {
    methods: ["esd-x", "esd-u", "esd"],
    paper: ESD_PAPER,
    code: "rohitgandikota/erasing, esd_sd.py @25613d2",
    defaults: { ...PLAIN, steps: 200, learningRate: 5e-5, guidance: 3, negativeGuidance: 2, samplingSteps: 50 },
    trains: { "esd-x": "esd-x", "esd-u": "esd-u", esd: "esd-x" },
    rules: ["esd-x", "esd-x-strict", "esd-u", "esd-all"],
    layout: "partial-safetensors",
    predictions: BOTH,
    families: SD,
  },
  "esd-xl-2025": {
    methods: ["esd-x", "esd-u", "esd"],
    paper: ESD_PAPER,
    code: "rohitgandikota/erasing, esd_sdxl.py @25613d2",
    defaults: { ...PLAIN, steps: 200, learningRate: 2e-4, guidance: 2, negativeGuidance: 1, samplingSteps: 50 },
    training: { "esd-u-xl": { learningRate: 1e-5 }, "esd-all-xl": { learningRate: 1e-5 } },
    trains: { "esd-x": "esd-x", "esd-u": "esd-u-xl", esd: "esd-x" },
    rules: ["esd-x", "esd-x-strict", "esd-u-xl", "esd-all-xl"],
    layout: "partial-safetensors",
    predictions: NOISE,
    families: ["sdxl"],
  },
  // train-esd.py:297-307
  "esd-2023": {
    methods: ["esd-x", "esd-u", "esd"],
    paper: ESD_PAPER,
    code: "rohitgandikota/erasing, train-scripts/train-esd.py @b8aeab6",
    defaults: { ...PLAIN, steps: 1000, learningRate: 1e-5, guidance: 3, negativeGuidance: 1, samplingSteps: 50 },
    trains: { "esd-x": "xattn", "esd-u": "noxattn", esd: "xattn" },
    rules: ["xattn", "noxattn", "selfattn", "full", "notime", "xlayer", "selflayer"],
    layout: "unet-pt",
    predictions: NOISE,
    families: SD,
  },
  // train_erase.py:324-329, 442
  "uce-2023": {
    methods: ["uce"],
    paper: UCE_PAPER,
    code: "rohitgandikota/unified-concept-editing, train-scripts/train_erase.py @bd5fb51",
    defaults: { technique: "replace", lamb: 0.5, eraseScale: 1 },
    trains: { uce: "cross-attn" },
    layout: "unet-pt",
    predictions: BOTH,
    families: SD,
  },
  // uce_sd_erase.py:105-107
  "uce-2025": {
    methods: ["uce"],
    paper: UCE_PAPER,
    code: "rohitgandikota/unified-concept-editing, trainscripts/uce_sd_erase.py @28c81ed",
    defaults: { technique: "replace", lamb: 0.5, eraseScale: 1, preserveScale: 1 },
    trains: { uce: "cross-attn" },
    layout: "partial-safetensors",
    predictions: BOTH,
    families: ANY,
  },
  // train.py:43-58: what its README says of nudity
  "rece-2024": {
    methods: ["rece"],
    paper: RECE_PAPER,
    code: "CharlesGong12/RECE, train.py @403a67f",
    defaults: { steps: 3, lamb: 0.1, eraseScale: 1, preserveScale: 0.1, regularScale: 0.1 },
    trains: { rece: "cross-attn" },
    layout: "unet-pt",
    predictions: BOTH,
    families: SD,
  },
  // train_object.py:120-135: what its README says of objects that UCE does not erase, such as the church
  "rece-object-2024": {
    methods: ["rece"],
    paper: RECE_PAPER,
    code: "CharlesGong12/RECE, train_object.py @403a67f",
    defaults: { steps: 1, lamb: 0.1, eraseScale: 1, preserveScale: 0.1, regularScale: 1e-3 },
    trains: { rece: "cross-attn" },
    layout: "unet-pt",
    predictions: BOTH,
    families: SD,
  },
  "salun-2024": {
    methods: ["salun"],
    paper: SALUN_PAPER,
    code: "OPTML-Group/Unlearn-Saliency, SD/train-scripts/random_label.py and generate_mask.py @a6e89fd",
    defaults: SALUN,
    trains: { salun: "full" },
    rules: ["full", "xattn"],
    layout: "unet-pt",
    predictions: NOISE,
    families: SD,
  },
  "salun-nsfw-2024": {
    methods: ["salun"],
    paper: SALUN_PAPER,
    code: "OPTML-Group/Unlearn-Saliency, SD/train-scripts/nsfw_removal.py and generate_mask.py @a6e89fd",
    defaults: { ...SALUN, steps: 100, anchor: "a photo of a person wearing clothes" },
    trains: { salun: "full" },
    rules: ["full", "xattn"],
    layout: "unet-pt",
    predictions: NOISE,
    families: SD,
  },
  "advunlearn-2024": {
    methods: ["advunlearn"],
    paper: ADVUNLEARN_PAPER,
    code: "OPTML-Group/AdvUnlearn, train-scripts/AdvUnlearn.py @9d23124",
    defaults: ADVUNLEARN,
    trains: { advunlearn: "text-encoder-layers" },
    layout: "text-encoder-pt",
    predictions: NOISE,
    families: SD,
  },
  "advunlearn-2024-fixed": {
    methods: ["advunlearn"],
    paper: ADVUNLEARN_PAPER,
    code: "advunlearn-2024, but the attack's gradients are not summed up and its last step counts",
    defaults: ADVUNLEARN,
    trains: { advunlearn: "text-encoder-layers" },
    layout: "text-encoder-pt",
    predictions: NOISE,
    families: SD,
  },
  "advunlearn-lethe": {
    methods: ["advunlearn"],
    paper: ADVUNLEARN_PAPER,
    code: "as advunlearn-2024-fixed, but the inner attack is Lethe's own text-grad, which always begins anew",
    defaults: {
      ...ADVUNLEARN,
      attack: "text-grad", attackSteps: 40, attackLearningRate: 0.05, attackTokens: 5, attackInit: "random", attackWarmup: 20,
    },
    trains: { advunlearn: "text-encoder-layers" },
    layout: "text-encoder-pt",
    predictions: NOISE,
    families: SD,
  },
  // diffusers/README.md:27-42: 2e-6 times the batch (--scale_lr), and on one GPU 200 steps; diffusers/train.py:312-446
  "concept-ablation-2023": {
    methods: ["concept-ablation"],
    paper: "Kumari et al., Ablating Concepts in Text-to-Image Diffusion Models, arXiv 2303.13516",
    code: "nupurkmr9/concept-ablation, diffusers/train.py @c11fb1b",
    defaults: { ...PLAIN, steps: 200, learningRate: 8e-6, weightDecay: 0.01, clip: 1, batch: 4, priorWeight: 0, pictures: 32 },
    trains: { "concept-ablation": "cross-attn" },
    rules: ["cross-attn", "attn", "full"],
    layout: "delta-bin",
    predictions: BOTH,
    families: SD,
  },
  // configs/attn.yaml
  "forget-me-not-2023": {
    methods: ["forget-me-not"],
    paper: "Zhang et al., Forget-Me-Not, arXiv 2303.17591",
    code: "SHI-Labs/Forget-Me-Not, src/train_attn.py and configs/attn.yaml @a4a81e8",
    defaults: { ...PLAIN, steps: 35, learningRate: 2e-6, weightDecay: 0.01, clip: 1, batch: 1, pooler: "on", pictures: 8 },
    trains: { "forget-me-not": "full" },
    rules: ["full", "ca"],
    layout: "pipeline-folder",
    predictions: BOTH,
    families: SD,
  },
  // The weights' update and bound are the script's defaults, rate and batch its README's; its number of steps is ours.
  finetune: {
    methods: ["finetune"],
    paper: "Ho et al., Denoising Diffusion Probabilistic Models, arXiv 2006.11239",
    code: "huggingface/diffusers, examples/text_to_image/train_text_to_image.py",
    defaults: { ...PLAIN, steps: 500, learningRate: 1e-5, weightDecay: 0.01, clip: 1, batch: 4, accumulate: 1, pictures: 16 },
    trains: { finetune: "full" },
    rules: ["full", "xattn", "attn", "text-encoder", "text-encoder-layers"],
    layout: "component-folder",
    predictions: BOTH,
    families: SD,
  },
  // As the script's defaults; batch and number of steps are ours.
  lora: {
    methods: ["lora"],
    paper: "Hu et al., LoRA, arXiv 2106.09685",
    code: "huggingface/diffusers, examples/text_to_image/train_text_to_image_lora.py",
    defaults: {
      ...PLAIN, steps: 500, learningRate: 1e-4, weightDecay: 0.01, clip: 1, batch: 4, accumulate: 1, rank: 4, alpha: 4, pictures: 16,
    },
    trains: {},
    layout: "lora-safetensors",
    predictions: BOTH,
    families: SD,
  },
};

/** The recipes of a method, its default first. @param family only those made for such models */
export function recipesOf(method: MethodName, family?: Family): RecipeName[] {
  return (Object.keys(RECIPES) as RecipeName[]).filter(
    (name) => RECIPES[name].methods.includes(method) && (!family || RECIPES[name].families.includes(family)),
  );
}
