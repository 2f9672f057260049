import type { NDArray } from "../nn/array.ts";
import type { Adapter } from "../nn/adapted-parameters.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { lowRankAdapter } from "../train/low-rank.ts";
import type { LazyTensor } from "../train/trained-tensors.ts";
import type { ComponentName } from "../train/variant.ts";
import type { Changed } from "./files/layouts.ts";
import type { LowRankModule } from "./files/low-rank-names.ts";
import { noiseLoss, noiseTraining } from "./finetune.ts";
import { clipping, startTraining } from "./common/start.ts";
import { type TrainedList, allTensors } from "./common/trained-tensors.ts";
import { type Training, type UnlearnSession, savedWeights } from "./training.ts";

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
    ...clipping(settings),
    batches: settings.accumulate!,
    adapters, trained,
  });
  return noiseTraining(session, started, settings.adaptText);
}

function adapterOf(session: UnlearnSession, component: ComponentName): ReturnType<typeof lowRankAdapter> {
  const { base, settings, draws, hooks, resume } = session;
  const rank = settings.rank!;
  return lowRankAdapter(base, component, {
    rank,
    alpha: settings.alpha!,
    tensors: allTensors(base, component),
    initial: (name, shape, kind) => {
      const given = hooks.initial?.(component, name, shape);
      if (given) return given;
      return resume || kind === "up" ? new Float32Array(shape[0] * shape[1]) : draws.normal("init", shape).map((x) => x / rank);
    },
    saved: (fresh) => savedWeights(resume, "weight", component, fresh),
  });
}

interface Changes {
  readonly changed: readonly LazyTensor[];
  readonly alpha: number | null;
}

/**
 * What an erasing run leaves to be written: the tensors that changed, or a LoRA's factors by module.
 * @param alpha LoRA's; null of other methods
 */
export async function writtenChanges({ changed, alpha }: Changes): Promise<Changed> {
  if (alpha === null) return { tensors: changed };
  const array = async ({ shape, read }: LazyTensor): Promise<NDArray> => ({ data: await read(), shape: [...shape] });
  const modules: LowRankModule[] = [];
  for (const { component, module, down, up } of factors(changed)) {
    modules.push({ component, module, down: await array(down), up: await array(up) });
  }
  return { lowRank: { modules, alpha } };
}

interface Factors {
  readonly component: ComponentName;
  readonly module: string;
  readonly down: LazyTensor;
  readonly up: LazyTensor;
}

/** A LoRA's tensors by the module that they add to. */
function factors(changed: readonly LazyTensor[]): Factors[] {
  return changed.flatMap((down) => {
    const { component, name } = down;
    const [, module] = /^(.*)\.lora(?:_linear_layer)?\.down\.weight$/.exec(name) ?? [];
    const up = changed.find((t) => t.component === component && t.name === name.replace(".down.", ".up."));
    return module !== undefined && up ? [{ component: component as ComponentName, module, down, up }] : [];
  });
}

/** The weights that a LoRA's additions make of a model's own, W + scale up down in float64, by component and name. */
export async function mergedLowRank(
  base: StableDiffusion,
  changed: readonly LazyTensor[],
  scale: number,
): Promise<Map<string, Map<string, Float32Array<ArrayBuffer>>>> {
  const merged = new Map<string, Map<string, Float32Array<ArrayBuffer>>>();
  for (const { component, module, ...own } of factors(changed)) {
    const [down, up] = [await own.down.read(), await own.up.read()];
    const [rank, width] = own.down.shape as [number, number];
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
