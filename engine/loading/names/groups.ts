/** Sorts the tensors of a file by what they belong to. */
import { FormatError, quote } from "../../formats/errors.ts";
import type { TensorEntry, TensorFile } from "../../formats/tensor-file.ts";
import { type Component, type NameStyle, isLeftover, isText, locate } from "./locate.ts";
import { type LowRankName, lowRankName } from "./low-rank.ts";
import { transformersTextName } from "./text-encoder.ts";

/** One component's tensors as the file has them. */
export interface Group {
  readonly component: Component;
  /** Whose names; "CompVis" for a VAE as soon as one of its names is. */
  readonly style: NameStyle;
  /** By the name without prefix. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

export interface Groups {
  readonly components: ReadonlyMap<Component, Group>;
  /** Averaged UNet weights of the original training code, by the UNet's names without prefix. Empty if there are none. */
  readonly ema: ReadonlyMap<string, TensorEntry>;
  /** Low-rank tensors, by their name in the file. */
  readonly lowRank: ReadonlyMap<string, LowRankName>;
  /** What training left and a model does not need: by its name, or because it lies beside the weights. */
  readonly leftovers: readonly string[];
  /** Tensors that are the same part of a component under another name, with the one that is taken: see `foldCopies`. */
  readonly copies: readonly (readonly [copy: TensorEntry, taken: TensorEntry])[];
  /** Names that no rule knows. */
  readonly unknown: readonly string[];
}

/** @throws FormatError if two tensors of different shapes have the same place, or one component's tensors have names of two kinds. */
export function groupTensors(file: TensorFile): Groups {
  const components = new Map<Component, { style: NameStyle; tensors: Map<string, TensorEntry> }>();
  const lowRank = new Map<string, LowRankName>();
  const averaged: TensorEntry[] = [];
  const copies: [TensorEntry, TensorEntry][] = [];
  const leftovers: string[] = [];
  const unknown: string[] = [];
  for (const entry of file.entries.values()) {
    const { name } = entry;
    const low = lowRankName(name);
    const located = low ? undefined : (locate(name) ?? (entry.prefix === undefined ? undefined : locate(name.slice(entry.prefix))));
    if (entry.role === "beside" || isLeftover(name)) leftovers.push(name);
    else if (low?.role === "unused") leftovers.push(name);
    else if (low) lowRank.set(name, low);
    else if (entry.role === "averaged" || name.startsWith("model_ema.")) averaged.push(entry);
    else if (!located) unknown.push(name);
    else {
      const { component, style } = located;
      const rest = (style === "diffusers" && isText(component) && transformersTextName(located.name)) || located.name;
      const group = components.get(component) ?? { style, tensors: new Map<string, TensorEntry>() };
      components.set(component, group);
      const other = group.tensors.get(rest);
      if (other) {
        if (!alike(other, entry)) throw ambiguous(file, component, other, entry);
        copies.push([entry, other]);
        continue;
      }
      if (group.style !== style && component !== "vae") {
        throw new FormatError(
          file.name,
          `mixes two conventions of ${componentName(component)} names, ${styleName(group.style)} and ${styleName(style)} (${quote(name)})`,
        );
      }
      if (style === "CompVis") group.style = style;
      group.tensors.set(rest, entry);
    }
  }
  const stray = components.size > 0 || lowRank.size > 0 ? strayNames(file, unknown) : [];
  return {
    components: new Map([...components].map(([component, group]) => [component, { component, ...group }])),
    ...averagedTensors(file, averaged, components.get("unet")?.tensors, [...leftovers, ...stray]),
    lowRank, copies, unknown: unknown.filter((name) => !stray.includes(name)),
  };
}

/**
 * Of names that no rule knows, those that are not weights of this model where it is known what the file is: names without a dot, which no
 * module has (random states, losses, tables of a noise schedule), and those of a state dict (a critic's) none of whose names is known.
 */
function strayNames(file: TensorFile, unknown: readonly string[]): string[] {
  const dictOf = (name: string): string | undefined => {
    const prefix = file.entries.get(name)!.prefix;
    return prefix === undefined ? undefined : name.slice(0, prefix);
  };
  const strange = new Set(unknown);
  const known = new Set([...file.entries.keys()].filter((name) => !strange.has(name)).map(dictOf));
  return unknown.filter((name) => (name.includes(".") ? dictOf(name) !== undefined && !known.has(dictOf(name)) : !name.startsWith("<")));
}

function alike(a: TensorEntry, b: TensorEntry): boolean {
  return a.dtype === b.dtype && a.shape.join() === b.shape.join();
}

function ambiguous(file: TensorFile, component: Component, a: TensorEntry, b: TensorEntry): FormatError {
  return new FormatError(
    file.name,
    `tensors ${quote(a.name)} and ${quote(b.name)} are the same part of the ${componentName(component)} and differ; which one is meant ` +
      "cannot be known",
  );
}

/**
 * Groups whose copies are seen to be copies: the same part of a component under two names (a module that holds its encoder's modules as its
 * own too)
 * must have the same bytes, and a name that no rule knows is such a copy if its last two parts, its shape and its bytes are those of one
 * tensor that is known.
 * @throws FormatError if two that should be the same differ
 */
export async function foldCopies(file: TensorFile, groups: Groups): Promise<Groups> {
  const same = async (a: string, b: string): Promise<boolean> => {
    const [x, y] = [await file.readBytes(a), await file.readBytes(b)];
    return x.every((byte, i) => byte === y[i]);
  };
  for (const [copy, taken] of groups.copies) {
    const component = [...groups.components.values()].find(({ tensors }) => [...tensors.values()].includes(taken))!.component;
    if (!(await same(copy.name, taken.name))) throw ambiguous(file, component, taken, copy);
  }
  const ending = (name: string): string => name.split(".").slice(-2).join(".");
  const known = [...groups.components.values()].flatMap(({ tensors }) => [...tensors.values()]);
  const unknown: string[] = [];
  for (const name of groups.unknown) {
    const entry = file.entries.get(name)!;
    const like = known.filter((other) => ending(other.name) === ending(name) && alike(other, entry));
    let folded = false;
    for (const other of like) folded ||= await same(name, other.name);
    if (!folded) unknown.push(name);
  }
  return { ...groups, unknown, leftovers: [...groups.leftovers, ...groups.unknown.filter((name) => !unknown.includes(name))] };
}

/**
 * `model_ema.` names have lost their dots (ldm/modules/ema.py: the names of the parameters of `model`, without dots), so they are found by
 * the UNet's own.
 * Those of a whole state dict that is an average keep theirs. What belongs to no UNet is a leftover.
 * @throws FormatError if an averaged tensor without dots has no counterpart.
 */
function averagedTensors(
  file: TensorFile,
  averaged: readonly TensorEntry[],
  unet: ReadonlyMap<string, TensorEntry> | undefined,
  others: readonly string[],
): Pick<Groups, "ema" | "leftovers"> {
  const byFlatName = new Map([...(unet?.keys() ?? [])].map((name) => [`model_ema.diffusion_model${name.replaceAll(".", "")}`, name]));
  const ema = new Map<string, TensorEntry>();
  const leftovers = [...others];
  for (const entry of averaged) {
    const name = entry.role === "averaged" ? unetNameWithin(entry.name) : byFlatName.get(entry.name);
    if (name !== undefined) ema.set(name, entry);
    else if (entry.role === "averaged") leftovers.push(entry.name);
    else
      throw new FormatError(
        file.name,
        `averaged tensor ${quote(entry.name)} has no counterpart among the file's ${unet?.size ?? 0} UNet tensors`,
      );
  }
  return { ema, leftovers };
}

/** The UNet's part of a name below keys of any kind; undefined if there is none. */
function unetNameWithin(name: string): string | undefined {
  for (let at = 0; at >= 0; at = name.indexOf(".", at) + 1 || -1) {
    const found = locate(name.slice(at));
    if (found) return found.component === "unet" ? found.name : undefined;
  }
  return undefined;
}

/** A component in words. */
export function componentName(component: Component): string {
  return { unet: "UNet", text_encoder: "text encoder", text_encoder_2: "second text encoder", vae: "VAE" }[component];
}

/** A naming convention in words. */
export function styleName(style: NameStyle): string {
  return { CompVis: "original (CompVis) names", diffusers: "diffusers names", OpenCLIP: "OpenCLIP names" }[style];
}
