/**
 * A file of other weights laid over a component's own: a state dict in any names, whole or in part, a whole checkpoint, or a low-rank file.
 */
import { quote } from "../formats/errors.ts";
import { type Group, type Groups, componentName, foldCopies, groupTensors } from "./names/groups.ts";
import { contextWidth } from "./names/infer.ts";
import { identify, versionOfWidth } from "./names/identify.ts";
import { isLeftover } from "./names/locate.ts";
import { type Layout, componentFile } from "./names/view.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { InputError } from "../runtime/errors.ts";
import { isEraser, withErasers } from "./eraser.ts";
import { withoutUnitKernel } from "./expected.ts";
import { isSpm } from "./method.ts";
import { mergeLowRank } from "./low-rank.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { checkNumbers, requireFloats, weightSource } from "../nn/weight-source.ts";

export interface OverlayOptions {
  readonly component: "unet" | "text_encoder";
  /** The base model's, by which partial files in the original names are understood. */
  readonly layout: Layout;
  /** Take the file's averaged weights. Default false. */
  readonly ema?: boolean | undefined;
  /** Told what of the model is replaced, if that is not all, and what the file holds besides. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** Of a low-rank file. Default 1. */
  readonly strength?: number | undefined;
}

/**
 * `base` with the tensors of `file` in place of its own, or, for a low-rank file, added to them.
 * @throws InputError if the file is of another kind (saying what it looks like), lacks averaged weights that are asked for, or one of its
 * tensors is not the base's or has another shape.
 * @throws FormatError naming a tensor that holds whole numbers or a number that is not finite, or two that should be the same and differ
 */
export async function overlayWeights(base: WeightSource, file: TensorFile, options: OverlayOptions): Promise<WeightSource> {
  const { component, layout } = options;
  const groups = await foldCopies(file, groupTensors(file));
  if (options.ema === true && groups.ema.size === 0) throw noAveraged(file, groups);
  const wrong = (): InputError =>
    new InputError(`${file.name}: looks like ${identify(file, groups).description}, not ${componentName(component)} weights`);
  if (groups.lowRank.size > 0) {
    const parts = new Set([...groups.lowRank.values()].map((low) => low.component ?? "unet"));
    if (!parts.has(component)) throw wrong();
    requireOnePart(file, groups, parts, component);
    const { strength = 1 } = options;
    const { layersPerBlock } = layout;
    return (await mergeLowRank(base, file, groups, { component, strength, ...(layersPerBlock && { layersPerBlock }) })) ?? base;
  }
  const group = chooseEma(groups, component, options.ema ?? false);
  if (!group) throw wrong();
  const [unknown] = groups.unknown;
  if (unknown !== undefined && groups.components.size === 1) {
    throw new InputError(
      `${file.name}: tensor ${quote(unknown)} is none of this ${componentName(component)}'s; it looks like ` +
        `${identify(file, groups).description}`,
    );
  }
  const [width, others] = [contextWidth(names(base)), contextWidth(group.tensors.values())];
  if (width !== undefined && others !== undefined && width !== others) {
    throw new InputError(
      `${file.name}: looks like ${identify(file, groups).description}, but the model it is laid over is ${versionOfWidth(width)} (text ` +
        `encoding of width ${width}, not ${others})`,
    );
  }
  if (component === "unet" && isEraser(group.tensors.keys())) return erased(base, componentFile(file, group, layout), options);
  const renamed = componentFile(file, group, layout);
  requireSameShapes(base, renamed, component);
  if (renamed.entries.size === 0) throw wrong();
  const own = weightSource(renamed);
  await checkNumbers(own, renamed.entries.keys());
  tellOfParts(base, renamed, groups, options);
  return over(base, own, renamed);
}

/** `own`'s tensors in the place of the base's. @param all names of all tensors, where `own` has others besides */
function over(base: WeightSource, own: WeightSource, file: TensorFile, all?: readonly string[]): WeightSource {
  const of = (tensor: string): WeightSource => (file.entries.has(tensor) ? own : base);
  return {
    name: `${file.name} over ${base.name}`,
    shape: (tensor, expected) => base.shape(tensor) ?? of(tensor).shape(tensor, expected),
    names: () => all ?? base.names(),
    readFloat32: (tensor) => of(tensor).readFloat32(tensor),
    readFloat16: (tensor) => of(tensor).readFloat16?.(tensor),
    async close() {
      await Promise.all([file.close(), base.close?.()]);
    },
  };
}

/** @throws InputError for a low-rank file of more parts than `component`, and for one whose strength depends on the prompt */
function requireOnePart(file: TensorFile, groups: Groups, parts: ReadonlySet<string>, component: OverlayOptions["component"]): void {
  if (parts.size > 1) {
    throw new InputError(
      `${file.name}: looks like ${identify(file, groups).description}, not ${componentName(component)} weights alone; give it as a ` +
        "LoRA, which goes to both",
    );
  }
  if (isSpm(file)) {
    throw new InputError(
      `${file.name}: is an eraser of SPM, whose strength depends on the prompt (facilitated transport); as a LoRA it can be merged at ` +
        "a fixed strength, which is not the published model",
    );
  }
}

/** @throws InputError for a tensor that is not the base's or has another shape; FormatError for whole numbers */
function requireSameShapes(base: WeightSource, file: TensorFile, component: OverlayOptions["component"]): void {
  for (const [name, entry] of file.entries) {
    requireFloats(file.name, entry);
    const expected = base.shape(name);
    if (!expected) {
      throw new InputError(
        `${file.name}: tensor ${quote(name)} is none of this ${componentName(component)}'s; is it made for another model?`,
      );
    }
    if (withoutUnitKernel(entry.shape).join() !== withoutUnitKernel(expected).join()) {
      throw new InputError(
        `${file.name}: tensor ${quote(name)} has shape [${entry.shape.join(",")}], the ${componentName(component)} of this model has ` +
          `[${expected.join(",")}]`,
      );
    }
  }
}

/** Says what of the model stays the base's, and what of the file is not used. */
function tellOfParts(base: WeightSource, file: TensorFile, groups: Groups, { component, onNote }: OverlayOptions): void {
  const [replaced, all] = [file.entries.size, [...base.names()].length];
  if (replaced < all) {
    const rest = all - replaced;
    onNote?.(`${file.name}: replaces ${replaced} of the ${componentName(component)}'s ${all} tensors; the other ${rest} are the base's`);
  }
  const beside = groups.leftovers.filter((name) => !isLeftover(name));
  if (beside.length > 0) {
    onNote?.(
      `${file.name}: ${beside.length} tensors beside the weights are not used: ` +
        `${beside.slice(0, 3).map(quote).join(", ")}${beside.length > 3 ? ", ..." : ""}`,
    );
  }
}

/** A UNet with Receler's adapters behind its cross attentions. @throws as `withErasers` */
async function erased(base: WeightSource, file: TensorFile, { onNote }: OverlayOptions): Promise<WeightSource> {
  const { names: all, tensors } = withErasers(base, file);
  const own = weightSource(tensors);
  await checkNumbers(own, tensors.entries.keys());
  onNote?.(`${file.name}: ${tensors.entries.size / 4} erasers (Receler) behind cross attentions; all other tensors are the base's`);
  return over(base, own, tensors, all);
}

/**
 * A component's tensors, the UNet's optionally in their averaged form. Not by default: who fine-tunes or unlearns a model with the original
 * code changes the plain weights and may leave the averaged ones as they were, which would then be the original model.
 */
export function chooseEma(groups: Groups, component: Group["component"], ema: boolean): Group | undefined {
  const group = groups.components.get(component);
  if (!group || component !== "unet" || !ema || groups.ema.size === 0) return group;
  return { ...group, tensors: new Map([...group.tensors, ...groups.ema]) };
}

/** For a caller who wants averaged weights of a file that has none. */
export function noAveraged(file: TensorFile, groups: Groups): InputError {
  return new InputError(`${file.name}: has no averaged (EMA) weights to take; it looks like ${identify(file, groups).description}`);
}

function* names(base: WeightSource): Iterable<{ name: string; shape: readonly number[] }> {
  for (const name of base.names()) yield { name, shape: base.shape(name)! };
}
