/** Low-rank files (LoRA, SPM) merged into a component's weights as they are read. */
import { quote } from "../formats/errors.ts";
import type { Groups } from "./names/groups.ts";
import { componentName } from "./names/groups.ts";
import { type LowRankRole, lowRankTargets } from "./names/low-rank.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { type Shape, elementCount } from "../../kernels/kernel.ts";
import { InputError } from "../runtime/errors.ts";
import type { WeightSource } from "../nn/parameters.ts";

/** Names of a module's tensors in the file. */
type Module = Partial<Record<LowRankRole, string>>;

export interface LowRankOptions {
  readonly component: "unet" | "text_encoder";
  /** Resnet blocks of each UNet level, for files in flattened original names. */
  readonly layersPerBlock?: readonly number[];
  /** Factor of the difference; 1 is as trained, 0 nothing, -1 the opposite. */
  readonly strength: number;
}

/**
 * `base` with W + strength * (alpha / rank) * up * down in place of each weight W [out, in] or [out, in, h, w] that the file has a module for; without an
 * alpha it counts as the rank, unless the file's `lora_adapter_metadata` (as newer diffusers write it) gives one. Sums are made in float64 and rounded once.
 * Undefined if the file has no module for this component.
 * @throws InputError for a module that the model does not have, shapes that do not fit, or a form that is not a product of two matrices.
 */
export function mergeLowRank(base: WeightSource, file: TensorFile, groups: Groups, options: LowRankOptions): WeightSource | undefined {
  const { component, strength, layersPerBlock } = options;
  const targetOf = lowRankTargets(base.names(), layersPerBlock && { layersPerBlock });
  const modules = new Map<string, Module>();
  for (const [name, { component: said, module, role, suffix }] of groups.lowRank) {
    if ((said ?? "unet") !== component) continue;
    if (role === "other") throw new InputError(`${file.name}: module ${quote(module)} has ${quote(suffix)}: LoHa, LoKr, DoRA and the like are not supported, only products of two matrices (lora_down, lora_up)`);
    const target = targetOf(module);
    if (target === undefined) throw new InputError(`${file.name}: low-rank module ${quote(module)} is none of this ${componentName(component)}'s; is it made for another model?`);
    const parts: Module = modules.get(target) ?? {};
    if (parts[role] !== undefined) throw new InputError(`${file.name}: ${quote(parts[role])} and ${quote(name)} are about the same module`);
    modules.set(target, { ...parts, [role]: name });
  }
  if (modules.size === 0) return undefined;
  for (const [target, module] of modules) checkModule(file, target, base.shape(target)!, module);
  const alphaOf = metadataAlpha(file, component);
  return {
    name: `${base.name} with ${file.name} merged in`,
    shape: (tensor) => base.shape(tensor),
    names: () => base.names(),
    async readFloat32(tensor) {
      const module = modules.get(tensor);
      const weight = await base.readFloat32(tensor);
      if (!module || strength === 0) return weight;
      const down = await file.readFloat32(module.down!);
      const up = await file.readFloat32(module.up!);
      const rank = file.entries.get(module.down!)!.shape[0]!;
      const alpha = module.alpha === undefined ? alphaOf(tensor) ?? rank : (await file.readFloat32(module.alpha))[0]!;
      return addProduct(weight, up, down, rank, (strength * alpha) / rank);
    },
    async close() {
      await Promise.all([file.close(), base.close?.()]);
    },
  };
}

function checkModule(file: TensorFile, target: string, stored: Shape, { down, up }: Module): void {
  const shapeOf = (name: string | undefined): Shape => (name === undefined ? [] : file.entries.get(name)!.shape);
  if (down === undefined || up === undefined) throw new InputError(`${file.name}: the low-rank module for "${target}" has no ${down === undefined ? "down" : "up"} matrix`);
  const [rank, ...inner] = shapeOf(down);
  const [out, second, ...kernel] = shapeOf(up);
  const fits = rank !== undefined && rank === second && out === stored[0] && elementCount(inner) === elementCount(stored.slice(1)) && kernel.every((size) => size === 1);
  if (!fits) throw new InputError(`${file.name}: the low-rank module for "${target}" is [${shapeOf(up).join(",")}] times [${shapeOf(down).join(",")}], the model's weight [${stored.join(",")}]; is it made for another model?`);
}

/** weight [out, in] + scale * up [out, rank] * down [rank, in], in a new array. */
function addProduct(weight: Float32Array, up: Float32Array, down: Float32Array, rank: number, scale: number): Float32Array<ArrayBuffer> {
  const inner = down.length / rank;
  const out = new Float32Array(weight.length);
  const sums = new Float64Array(inner);
  for (let row = 0; row * inner < weight.length; row++) {
    sums.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = up[row * rank + r]!;
      for (let i = 0; i < inner; i++) sums[i]! += factor * down[r * inner + i]!;
    }
    for (let i = 0; i < inner; i++) out[row * inner + i] = weight[row * inner + i]! + scale * sums[i]!;
  }
  return out;
}

/** PEFT keeps alpha outside of the tensors; diffusers from 0.34 on puts it into the file's metadata as `unet.lora_alpha` and, by module, `unet.alpha_pattern`. */
function metadataAlpha(file: TensorFile, component: string): (tensor: string) => number | undefined {
  const text = file.metadata["lora_adapter_metadata"];
  if (text === undefined) return () => undefined;
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new InputError(`${file.name}: its lora_adapter_metadata is not valid JSON`, { cause });
  }
  const field = (name: string): unknown => fields[`${component}.${name}`];
  for (const form of ["use_rslora", "use_dora"]) if (field(form) === true) throw new InputError(`${file.name}: its adapter was trained with ${form}, which is not supported`);
  const patterns = Object.entries((field("alpha_pattern") ?? {}) as Record<string, unknown>);
  const general = field("lora_alpha");
  return (tensor) => {
    const module = tensor.slice(0, -".weight".length);
    const own = patterns.find(([pattern]) => module === pattern || module.endsWith(`.${pattern}`))?.[1] ?? general;
    return typeof own === "number" ? own : undefined;
  };
}
