import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { Adapter } from "../nn/adapted-parameters.ts";
import { Parameters, type WeightSource } from "../nn/parameters.ts";
import type { ComponentName } from "./variant.ts";

interface Targets {
  readonly attention: RegExp;
  readonly layers: readonly string[];
  readonly infix: string;
}

/** The layers of an attention that get an addition, in diffusers' order, and how it names the weights in each component. */
const TARGETS: Readonly<Record<ComponentName, Targets>> = {
  unet: { attention: /\.attn[12]$/, layers: ["to_q", "to_k", "to_v", "to_out.0"], infix: "lora" },
  text_encoder: { attention: /\.self_attn$/, layers: ["q_proj", "k_proj", "v_proj", "out_proj"], infix: "lora_linear_layer" },
};

export interface LowRankOptions {
  readonly rank: number;
  /** Up times down is multiplied by alpha / rank. */
  readonly alpha: number;
  /** The component's tensors, in a state dict's order. */
  readonly tensors: Iterable<string>;
  /** Which attentions, by module path. Default: all. */
  readonly attention?: RegExp;
  /** Numbers that a weight begins with. */
  readonly initial: (name: string, shape: readonly [number, number], kind: "down" | "up") => Float32Array<ArrayBuffer>;
  /** Other numbers in the place of the initial ones, of a training that goes on. */
  readonly saved?: (initial: WeightSource) => WeightSource | undefined;
}

/** A new low-rank addition to a component's attention projections (LoRA, arXiv 2106.09685), and its weights' names in diffusers' order. */
export function lowRankAdapter(
  model: StableDiffusion,
  component: ComponentName,
  { rank, alpha, tensors: all, attention: wanted, initial, saved }: LowRankOptions,
): { readonly adapter: Adapter; readonly tensors: readonly string[] } {
  const { attention, layers, infix } = TARGETS[component];
  const owner = component === "unet" ? model.parts.unet.parameters : model.parts.textEncoder.parameters;
  const names = new Map<string, { readonly down: string; readonly up: string }>();
  const weights = new Map<string, { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>();
  const last = `.${layers.at(-1)!}.weight`;
  const attentions = [...all].flatMap((tensor) => (tensor.endsWith(last) ? [tensor.slice(0, -last.length)] : []));
  const chosen = attentions.filter((path) => attention.test(path) && (!wanted || wanted.test(path)));
  for (const module of chosen.flatMap((path) => layers.map((layer) => `${path}.${layer}`))) {
    const [out, width] = owner.storedShape(`${module}.weight`) as [number, number];
    const [down, up] = [`${module}.${infix}.down.weight`, `${module}.${infix}.up.weight`];
    names.set(module, { down, up });
    weights.set(down, { shape: [rank, width], data: initial(down, [rank, width], "down") });
    weights.set(up, { shape: [out, rank], data: initial(up, [out, rank], "up") });
  }
  const source: WeightSource = {
    name: "new LoRA",
    names: () => weights.keys(),
    shape: (tensor) => weights.get(tensor)?.shape,
    readFloat32: (tensor) => Promise.resolve(weights.get(tensor)!.data),
  };
  return {
    adapter: {
      parameters: new Parameters(component, model.device, saved?.(source) ?? source, "f32", `${component} LoRA`),
      namesOf: (module) => names.get(module),
      rank,
      scale: alpha / rank,
    },
    tensors: [...names.values()].flatMap(({ down, up }) => [down, up]),
  };
}
