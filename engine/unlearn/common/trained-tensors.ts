import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { Graph } from "../../runtime/graph.ts";
import { f32 } from "../../../kernels/kernel.ts";
import { inStateDictOrder } from "../../loading/names/state-dict-order.ts";
import type { ComponentName } from "../../train/variant.ts";

/** Rules by which methods choose the UNet's tensors, under the names of the methods' own code. */
export const TENSOR_RULES = [
  "xattn", "noxattn", "selfattn", "full", "notime", "xlayer", "selflayer", // ESD of 2023; SalUn's "full" and "xattn"
  "esd-x", "esd-x-strict", "esd-u", "esd-all", // ESD of 2025
  "esd-u-xl", "esd-all-xl", // the same of SDXL
  "cross-attn", "attn", // Concept Ablation's parameter groups; UCE's and RECE's is the first
  "ca", // Forget-Me-Not's only_optimize_ca
  "text-encoder", "text-encoder-layers", // all of it, tables too; AdvUnlearn's text_encoder_full
] as const;
export type TensorRule = (typeof TENSOR_RULES)[number];

/** Norms are modules of their own in a transformer (norm1, layer_norm1), a resnet (norm1) and before the output (conv_norm_out). */
const NORM = /(^|\.)(norm\d*|layer_norm\d|final_layer_norm|conv_norm_out)\.(weight|bias)$/;
const OUTPUT_OR_TIME = /^(conv_norm_out|conv_out|time_embedding)\./;

/** input_blocks and output_blocks of the original code that have attention are numbered through: 2 attentions a level down, 3 up. */
const LAYERS = {
  xlayer: /^up_blocks\.2\.attentions\.[02]\..*attn2\./,
  selflayer: /^down_blocks\.(1|2)\.attentions\.0\..*attn1\./,
} as const;

/** Which tensors a rule selects. `tensor` by its name in diffusers' layout. */
const RULES: Readonly<Record<TensorRule, { readonly of: ComponentName; readonly selects: (tensor: string) => boolean }>> = {
  // train-scripts/train-esd.py of 2023
  xattn: unet((t) => t.includes("attn2")),
  selfattn: unet((t) => t.includes("attn1")),
  full: unet(() => true),
  noxattn: unet((t) => !t.includes("attn2") && !OUTPUT_OR_TIME.test(t)),
  notime: unet((t) => !OUTPUT_OR_TIME.test(t)),
  xlayer: unet((t) => LAYERS.xlayer.test(t)),
  selflayer: unet((t) => LAYERS.selflayer.test(t)),
  // esd_sd.py of 2025: linear layers and convolutions only
  "esd-x": unet((t) => t.includes("attn2") && !NORM.test(t)),
  "esd-x-strict": unet((t) => /attn2\.to_[kv]\./.test(t)),
  "esd-u": unet((t) => !t.includes("attn2") && !NORM.test(t)),
  "esd-all": unet((t) => !NORM.test(t)),
  // esd_sdxl.py of 2025: the same within blocks, without embeddings of time and sizes
  "esd-u-xl": unet((t) => t.includes("block") && !t.includes("attn2") && !t.includes("emb") && !NORM.test(t)),
  "esd-all-xl": unet((t) => t.includes("block") && !t.includes("emb") && !NORM.test(t)),
  "cross-attn": unet((t) => /attn2\.to_[kv]\./.test(t)),
  attn: unet((t) => /attn[12]\./.test(t)),
  ca: unet((t) => t.includes("attn2")),
  "text-encoder": { of: "text_encoder", selects: () => true },
  "text-encoder-layers": { of: "text_encoder", selects: (t) => /^text_model\.(encoder|final_layer_norm)\./.test(t) },
};

function unet(selects: (tensor: string) => boolean): { readonly of: ComponentName; readonly selects: (tensor: string) => boolean } {
  return { of: "unet", selects };
}

/** The component that a rule selects from. */
export function componentOf(rule: TensorRule): ComponentName {
  return RULES[rule].of;
}

/** Tensors of a component by name. */
export interface TrainedList {
  readonly component: ComponentName;
  /** In the order of a state dict. */
  readonly tensors: readonly string[];
}

/** What a rule selects in a model. */
export function tensorsOf(model: StableDiffusion, rule: TensorRule): TrainedList {
  const { of, selects } = RULES[rule];
  return { component: of, tensors: allTensors(model, of).filter(selects) };
}

/** Every tensor of a component, in the order of a state dict: what the model's own code asks for when it is recorded. */
export function allTensors(model: StableDiffusion, component: ComponentName): string[] {
  const g = new Graph();
  const { unet: { config, parameters }, textEncoder } = model.parts;
  const tokens = textEncoder.config.maxLength;
  if (component === "unet") {
    const side = 2 ** (config.blockOutChannels.length - 1);
    const sample = g.input("sample", f32([1, side, side, config.inChannels]));
    const context = g.input("context", f32(model.encodingShape(1, tokens)));
    model.recordUNet(g, sample, g.input("features", f32([1, model.featureWidth])), context);
  } else {
    model.recordPrompts(g, g.input("ids", { shape: [1, tokens], dtype: "u32" }));
  }
  const owner = component === "unet" ? parameters : textEncoder.parameters;
  const leaves = g.nodes.filter((n) => n.leaf?.kind === "parameter" && owner.owns(n.name));
  return inStateDictOrder(new Set(leaves.flatMap((n) => owner.tensorsOf(n.name))));
}
