/** Low-rank files (LoRA, LoHa, LoKr, DoRA and their kin) merged into a component's weights as they are read. */
import { isFloatDType } from "../formats/dtype.ts";
import { quote } from "../formats/errors.ts";
import { type Groups, componentName } from "./names/groups.ts";
import { contextWidth } from "./names/infer.ts";
import { identify, versionOfWidth } from "./names/identify.ts";
import { type LowRankComponent, lowRankTargets } from "./names/low-rank.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { type Shape, elementCount } from "../../kernels/kernel.ts";
import { InputError } from "../runtime/errors.ts";
import { type Factor64, type Parts, applyMagnitudes, difference, formSize } from "./low-rank-forms.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { checkNumbers, requireFloats, weightSource } from "../nn/weight-source.ts";

export interface LowRankOptions {
  readonly component: LowRankComponent;
  /** Whether the base is a part of SDXL. */
  readonly xl?: boolean;
  /** Resnet blocks of each UNet level, for files in flattened original names. */
  readonly layersPerBlock?: readonly number[];
  /** Factor of the difference; 1 is as trained, 0 nothing, -1 the opposite. A function is asked whenever a weight is read. */
  readonly strength: number | (() => number);
  /** Told of each weight that a module changes. */
  readonly onTarget?: (tensor: string) => void;
}

/** A module that changes one weight: the names of its tensors in the file, and the factor of its difference. */
interface Module {
  readonly parts: Parts<string>;
  /** How far the difference is scaled down, alpha / rank, from the module's own alpha tensor or this. */
  readonly rank: number | undefined;
  readonly alpha: number | undefined;
  /** Divided by the root of the rank (rsLoRA). */
  readonly byRoot: boolean;
}

/**
 * `base` with W + strength * (alpha / rank) * D in place of each weight W [out, in] or [out, in, h, w] that the file has a module for, D
 * being the module's difference;
 * without an alpha it counts as the rank, unless the file's `lora_adapter_metadata` (as newer diffusers write it) gives one. Sums are made
 * in float64 and rounded once.
 * Undefined if the file has no module for this component.
 * @throws InputError for a file of another version of Stable Diffusion, a module that the model does not have, shapes that do not fit, or a
 * form that is not supported
 * @throws FormatError naming a tensor that holds whole numbers or a number that is not finite
 */
export async function mergeLowRank(
  base: WeightSource,
  file: TensorFile,
  groups: Groups,
  options: LowRankOptions,
): Promise<WeightSource | undefined> {
  const { component, layersPerBlock } = options;
  const strengthNow = (): number => (typeof options.strength === "number" ? options.strength : options.strength());
  const targetOf = lowRankTargets(base.names(), layersPerBlock && { layersPerBlock });
  const own = [...groups.lowRank].filter(([, low]) => (low.component ?? "unet") === component);
  if (own.length === 0) return undefined;
  requireVersion(base, file, groups, options);
  const found = new Map<string, Parts<string>>();
  for (const [name, { module, role, suffix }] of own) {
    if (role === "other")
      throw new InputError(
        `${file.name}: module ${quote(module)} has ${quote(suffix)}, a form that is not supported: those of LoRA, LoHa, LoKr and DoRA are`,
      );
    const target = targetOf(module);
    if (target === undefined)
      throw new InputError(
        `${file.name}: low-rank module ${quote(module)} is none of this ${componentName(component)}'s; is it made for another model?`,
      );
    const entry = file.entries.get(name)!;
    // An alpha is no weight: kohya's scripts keep it whole where it was given whole.
    if (role !== "alpha" || entry.dtype === "BOOL") requireFloats(file.name, entry);
    const changed = role === "diff_b" || role === "b_norm" ? target.replace(/weight$/, "bias") : target;
    const parts = found.get(changed) ?? {};
    if (parts[role] !== undefined) throw new InputError(`${file.name}: ${quote(parts[role])} and ${quote(name)} are about the same module`);
    found.set(changed, { ...parts, [role]: name });
  }
  await checkNumbers(
    weightSource(file),
    own.filter(([name]) => isFloatDType(file.entries.get(name)!.dtype)).map(([name]) => name),
  );
  const metadata = adapterMetadata(file, component);
  const modules = new Map([...found].map(([target, parts]) => [target, checkedModule(file, base, target, parts, metadata)]));
  if (options.onTarget) for (const target of modules.keys()) options.onTarget(target);
  return {
    name: `${base.name} with ${file.name} merged in`,
    shape: (tensor) => base.shape(tensor),
    names: () => base.names(),
    readFloat32: async (tensor) => {
      const strength = strengthNow();
      const module = strength === 0 ? undefined : modules.get(tensor);
      const weight = await base.readFloat32(tensor);
      return module ? merged(file, module, weight, base.shape(tensor)!, strength) : weight;
    },
    async close() {
      await Promise.all([file.close(), base.close?.()]);
    },
  };
}

/** @throws InputError if the file shows that it is made for another version than the base's */
function requireVersion(base: WeightSource, file: TensorFile, groups: Groups, { component, xl = false }: LowRankOptions): void {
  const { version, description } = identify(file, groups);
  const width =
    component === "unet"
      ? contextWidth([...base.names()].map((name) => ({ name, shape: base.shape(name)! })))
      : base.shape("text_model.final_layer_norm.weight")?.[0];
  // SDXL's first text encoder is that of SD 1.x, and a file for it alone looks like one.
  const own = new Set([versionOfWidth(width), ...(xl ? ["SDXL"] : [])]);
  if (version !== undefined && !own.has(undefined) && !own.has(version))
    throw new InputError(`${file.name}: looks like ${description}, but the model is ${[...own].at(-1)}`);
}

/** @throws InputError naming module and shapes that do not fit */
function checkedModule(file: TensorFile, base: WeightSource, target: string, parts: Parts<string>, metadata: AdapterMetadata): Module {
  const shapeOf = (name: string): Shape => file.entries.get(name)!.shape;
  const stored = base.shape(target);
  const refuse = (what: string): never => {
    const given = Object.entries(parts)
      .map(([role, name]) => `${role} [${shapeOf(name).join(",")}]`)
      .join(", ");
    throw new InputError(
      `${file.name}: the low-rank module for "${target}" ${what}: ${given}; the model's weight is [${stored?.join(",") ?? "absent"}]`,
    );
  };
  if (!stored) return refuse("changes a tensor that the model does not have");
  if (parts.diff_b ?? parts.b_norm)
    return elementCount(shapeOf((parts.diff_b ?? parts.b_norm)!)) === stored[0]
      ? { parts, rank: undefined, alpha: undefined, byRoot: false }
      : refuse("does not fit; is it made for another model?");
  const size = formSize(
    Object.fromEntries(Object.entries(parts).map(([role, name]) => [role, shapeOf(name)])),
    elementCount(stored.slice(2)),
  );
  if (typeof size === "string") return refuse(`has ${size}`);
  if (size.rows !== stored[0] || size.columns !== elementCount(stored.slice(1)))
    return refuse("does not fit; is it made for another model?");
  if (parts.magnitude !== undefined && !magnitudeAxis(parts.magnitude, shapeOf(parts.magnitude), stored))
    return refuse("has magnitudes (DoRA) that do not fit");
  if (metadata.dora && parts.magnitude === undefined) return refuse("lacks the magnitudes that its metadata (use_dora) speaks of");
  return { parts, rank: size.rank, alpha: metadata.alphaOf(target), byRoot: metadata.byRoot };
}

/** Whether DoRA's magnitudes are the outputs' or the inputs'; undefined if they fit neither. PEFT's are always the outputs'. */
function magnitudeAxis(name: string, shape: Shape, stored: Shape): "outputs" | "inputs" | undefined {
  const count = elementCount(shape);
  if (name.includes("lora_magnitude_vector")) return count === stored[0] ? "outputs" : undefined;
  if (shape[0] === stored[0] && count === stored[0]) return "outputs";
  return shape[1] === stored[1] && count === stored[1] ? "inputs" : undefined;
}

async function merged(
  file: TensorFile,
  { parts, rank, alpha: given, byRoot }: Module,
  weight: Float32Array,
  stored: Shape,
  strength: number,
): Promise<Float32Array<ArrayBuffer>> {
  const read: Parts<Factor64> = {};
  for (const [role, name] of Object.entries(parts))
    read[role as keyof Parts<Factor64>] = { data: await file.readFloat64(name), shape: file.entries.get(name)!.shape };
  const kernel = elementCount(stored.slice(2));
  const change = (read.diff_b ?? read.b_norm)?.data ?? difference(read, kernel);
  const scale = rank === undefined ? 1 : (read.alpha?.data[0] ?? given ?? rank) / (byRoot ? Math.sqrt(rank) : rank);
  const out = Float64Array.from(weight, (w, i) => w + strength * scale * change[i]!);
  if (read.magnitude)
    applyMagnitudes(
      out,
      stored[0]!,
      kernel,
      read.magnitude.data,
      magnitudeAxis(parts.magnitude!, read.magnitude.shape, stored) === "outputs",
      strength,
    );
  return Float32Array.from(out);
}

/** What a file's metadata says of its modules. */
interface AdapterMetadata {
  readonly alphaOf: (tensor: string) => number | undefined;
  readonly byRoot: boolean;
  readonly dora: boolean;
}

/**
 * PEFT keeps alpha outside of the tensors; diffusers from 0.34 on puts it into the file's metadata as `unet.lora_alpha` and, by module,
 * `unet.alpha_pattern`.
 * @throws InputError for metadata that is no JSON
 */
function adapterMetadata(file: TensorFile, component: string): AdapterMetadata {
  const text = file.metadata["lora_adapter_metadata"];
  if (text === undefined) return { alphaOf: () => undefined, byRoot: false, dora: false };
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new InputError(`${file.name}: its lora_adapter_metadata is not valid JSON`, { cause });
  }
  const field = (name: string): unknown => fields[`${component}.${name}`];
  const patterns = Object.entries((field("alpha_pattern") ?? {}) as Record<string, unknown>);
  const general = field("lora_alpha");
  const alphaOf = (tensor: string): number | undefined => {
    const module = tensor.slice(0, -".weight".length);
    const own = patterns.find(([pattern]) => module === pattern || module.endsWith(`.${pattern}`))?.[1] ?? general;
    return typeof own === "number" ? own : undefined;
  };
  return { alphaOf, byRoot: field("use_rslora") === true, dora: field("use_dora") === true };
}
