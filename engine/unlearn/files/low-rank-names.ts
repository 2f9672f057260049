/**
 * Low-rank factors under the names that tools give them: the way back of `engine/loading/names/low-rank.ts`, and from the same sources.
 */
import type { NDArray } from "../../nn/array.ts";
import { UsageError } from "../../runtime/errors.ts";

/** A module's factors: its weight gets (alpha / rank) up @ down. */
export interface LowRankModule {
  readonly component: "unet" | "text_encoder";
  /** Its path in the component: `down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k`. */
  readonly module: string;
  /** [rank, inputs]. */
  readonly down: NDArray;
  /** [outputs, rank]. */
  readonly up: NDArray;
}

export type LowRankNames = "processor" | "diffusers" | "peft" | "kohya";

/**
 * The tensors of a low-rank file. Only kohya's names have a place for alpha; the others take alpha = rank, so the scale goes into `up`.
 * @throws UsageError for a module that "processor" has no name for: it knows the projections of attention only
 */
export function lowRankTensors(
  names: LowRankNames,
  modules: readonly LowRankModule[],
  alpha: number,
): { readonly tensors: Map<string, NDArray>; readonly metadata: Readonly<Record<string, string>> } {
  const tensors = new Map<string, NDArray>();
  for (const { component, module, down, up } of modules) {
    const scale = alpha / down.shape[0]!;
    const [downName, upName] = factorNames(names, component, module);
    tensors.set(downName, down);
    tensors.set(upName, names === "kohya" || scale === 1 ? up : { data: up.data.map((x) => x * scale), shape: up.shape });
    if (names === "kohya") tensors.set(downName.replace(/lora_down\.weight$/, "alpha"), { data: Float32Array.of(alpha), shape: [] });
  }
  const rank = modules[0]?.down.shape[0] ?? 0;
  const own = { ss_network_alpha: String(alpha), ss_network_dim: String(rank), ss_network_module: "networks.lora" };
  return { tensors, metadata: names === "kohya" ? own : { format: "pt" } };
}

function factorNames(names: LowRankNames, component: LowRankModule["component"], module: string): readonly [down: string, up: string] {
  const path = `${component}.${module}`;
  if (names === "peft") return [`${path}.lora_A.weight`, `${path}.lora_B.weight`];
  if (names === "kohya") {
    const flat = `lora_${component === "unet" ? "unet" : "te"}_${module.replaceAll(".", "_")}`;
    return [`${flat}.lora_down.weight`, `${flat}.lora_up.weight`];
  }
  if (component === "text_encoder") return [`${path}.lora_linear_layer.down.weight`, `${path}.lora_linear_layer.up.weight`];
  if (names === "diffusers") return [`${path}.lora.down.weight`, `${path}.lora.up.weight`];
  const [, attention, projection] = /^(.+\.attn[12])\.to_(q|k|v|out)(?:\.0)?$/.exec(path) ?? [];
  if (attention === undefined) {
    throw new UsageError(`names of diffusers up to 0.21 know low-rank factors of attention's projections only, not of ${module}`);
  }
  return [`${attention}.processor.to_${projection}_lora.down.weight`, `${attention}.processor.to_${projection}_lora.up.weight`];
}
