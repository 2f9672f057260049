import type { Adapter } from "../nn/adapted-parameters.ts";
import { Parameters, type WeightSource } from "../nn/parameters.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { LazyTensor } from "../train/trained-tensors.ts";
import type { ComponentName } from "../train/variant.ts";
import { noiseLoss, noiseTraining } from "./finetune.ts";
import { startTraining } from "./shared/start.ts";
import { type TrainedList, allTensors } from "./shared/trained-tensors.ts";
import { type Training, type UnlearnSession, savedWeights } from "./training.ts";

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

/**
 * LoRA (Hu et al., arXiv 2106.09685) on the attention projections: W + (alpha / rank) up down, with W as it was. `down` begins as normal
 * numbers of deviation 1 / rank, `up` as zeros. Trained as fine-tuning is.
 */
export async function startLora(session: UnlearnSession): Promise<Training> {
  const { settings } = session;
  const adapters: Partial<Record<ComponentName, Adapter>> = {};
  const trained: TrainedList[] = [];
  for (const component of settings.adaptText ? (["unet", "text_encoder"] as const) : (["unet"] as const)) {
    const { adapter, tensors } = adapterOf(session, component);
    adapters[component] = adapter;
    trained.push({ component, tensors });
  }
  const started = await startTraining(session, noiseLoss(session, settings.adaptText), {
    decay: "decoupled",
    ...(settings.clip !== null && { clipNorm: settings.clip }),
    batches: settings.accumulate!,
    adapters, trained,
  });
  return noiseTraining(session, started, settings.adaptText);
}

function adapterOf(session: UnlearnSession, component: ComponentName): { readonly adapter: Adapter; readonly tensors: readonly string[] } {
  const { base, settings, draws, hooks, resume } = session;
  const { attention, layers, infix } = TARGETS[component];
  const rank = settings.rank!;
  const owner = component === "unet" ? base.parts.unet.parameters : base.parts.textEncoder.parameters;
  const names = new Map<string, { readonly down: string; readonly up: string }>();
  const initial = new Map<string, { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>();
  const last = `.${layers.at(-1)!}.weight`;
  const attentions = allTensors(base, component).flatMap((tensor) => (tensor.endsWith(last) ? [tensor.slice(0, -last.length)] : []));
  for (const module of attentions.filter((path) => attention.test(path)).flatMap((path) => layers.map((layer) => `${path}.${layer}`))) {
    const [out, width] = owner.storedShape(`${module}.weight`) as [number, number];
    const [down, up] = [`${module}.${infix}.down.weight`, `${module}.${infix}.up.weight`];
    names.set(module, { down, up });
    for (const [name, shape, zero] of [[down, [rank, width], false], [up, [out, rank], true]] as const) {
      const given = hooks.initial?.(component, name, shape);
      const drawn = (): Float32Array<ArrayBuffer> => draws.normal("init", shape).map((x) => x / rank);
      const data = given ?? (resume || zero ? new Float32Array(shape[0] * shape[1]) : drawn());
      initial.set(name, { shape, data });
    }
  }
  const source: WeightSource = {
    name: "new LoRA",
    names: () => initial.keys(),
    shape: (tensor) => initial.get(tensor)?.shape,
    readFloat32: (tensor) => Promise.resolve(initial.get(tensor)!.data),
  };
  const weights = savedWeights(resume, "weight", component, source) ?? source;
  return {
    adapter: {
      parameters: new Parameters(component, base.device, weights, "f32", `${component} LoRA`),
      namesOf: (module) => names.get(module),
      rank,
      scale: settings.alpha! / rank,
    },
    tensors: [...names.values()].flatMap(({ down, up }) => [down, up]),
  };
}

/** The weights that a LoRA's additions make of a model's own, W + scale up down in float64, by component and name. */
export async function mergedLowRank(
  base: StableDiffusion,
  changed: readonly LazyTensor[],
  scale: number,
): Promise<Map<string, Map<string, Float32Array<ArrayBuffer>>>> {
  const merged = new Map<string, Map<string, Float32Array<ArrayBuffer>>>();
  for (const { component, name, shape, read } of changed) {
    const [, module] = /^(.*)\.lora(?:_linear_layer)?\.down\.weight$/.exec(name) ?? [];
    if (module === undefined) continue;
    const other = changed.find((t) => t.component === component && t.name === name.replace(".down.", ".up."))!;
    const [down, up] = [await read(), await other.read()];
    const [rank, width] = shape as [number, number];
    const owner = component === "unet" ? base.parts.unet.parameters : base.parts.textEncoder.parameters;
    const weight = await owner.source.readFloat32(`${module}.weight`);
    const whole = weight.map((w, i) => {
      const [o, c] = [Math.floor(i / width), i % width];
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += up[o * rank + r]! * down[r * width + c]!;
      return w + scale * sum;
    });
    const tensors = merged.get(component) ?? new Map<string, Float32Array<ArrayBuffer>>();
    merged.set(component, tensors.set(`${module}.weight`, whole));
  }
  return merged;
}
