/** Sorts the tensors of a file by what they belong to. */
import { FormatError, quote } from "../../formats/errors.ts";
import type { TensorEntry, TensorFile } from "../../formats/tensor-file.ts";
import { type Component, type NameStyle, isLeftover, locate } from "./locate.ts";
import { type LowRankName, lowRankName } from "./low-rank.ts";

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
  /** What training left and a model does not need. */
  readonly leftovers: readonly string[];
  /** Names that no rule knows. */
  readonly unknown: readonly string[];
}

/** @throws FormatError if two tensors have the same place, or one component's tensors have names of two kinds. */
export function groupTensors(file: TensorFile): Groups {
  const components = new Map<Component, { style: NameStyle; tensors: Map<string, TensorEntry> }>();
  const lowRank = new Map<string, LowRankName>();
  const averaged: TensorEntry[] = [];
  const leftovers: string[] = [];
  const unknown: string[] = [];
  for (const entry of file.entries.values()) {
    const { name } = entry;
    const low = lowRankName(name);
    const located = low ? undefined : locate(name);
    if (isLeftover(name)) leftovers.push(name);
    else if (low) lowRank.set(name, low);
    else if (name.startsWith("model_ema.")) averaged.push(entry);
    else if (!located) unknown.push(name);
    else {
      const { component, style, name: rest } = located;
      const group = components.get(component) ?? { style, tensors: new Map<string, TensorEntry>() };
      components.set(component, group);
      const other = group.tensors.get(rest);
      if (other) throw new FormatError(file.name, `tensors ${quote(other.name)} and ${quote(name)} are the same part of the ${componentName(component)}; which one is meant cannot be known`);
      if (group.style !== style && component !== "vae") throw new FormatError(file.name, `mixes two conventions of ${componentName(component)} names, ${styleName(group.style)} and ${styleName(style)} (${quote(name)})`);
      if (style === "CompVis") group.style = style;
      group.tensors.set(rest, entry);
    }
  }
  return {
    components: new Map([...components].map(([component, group]) => [component, { component, ...group }])),
    ema: averagedTensors(file, averaged, components.get("unet")?.tensors),
    lowRank, leftovers, unknown,
  };
}

/**
 * `model_ema.` names have lost their dots (ldm/modules/ema.py: the names of the parameters of `model`, without dots), so they are found by the UNet's own.
 * @throws FormatError if an averaged tensor has no counterpart.
 */
function averagedTensors(file: TensorFile, averaged: readonly TensorEntry[], unet: ReadonlyMap<string, TensorEntry> | undefined): Map<string, TensorEntry> {
  const byFlatName = new Map([...(unet?.keys() ?? [])].map((name) => [`model_ema.diffusion_model${name.replaceAll(".", "")}`, name]));
  const out = new Map<string, TensorEntry>();
  for (const entry of averaged) {
    const name = byFlatName.get(entry.name);
    if (name === undefined) throw new FormatError(file.name, `averaged tensor ${quote(entry.name)} has no counterpart among the file's ${unet?.size ?? 0} UNet tensors`);
    out.set(name, entry);
  }
  return out;
}

/** A component in words. */
export function componentName(component: Component): string {
  return { unet: "UNet", text_encoder: "text encoder", vae: "VAE" }[component];
}

/** A naming convention in words. */
export function styleName(style: NameStyle): string {
  return { CompVis: "original (CompVis) names", diffusers: "diffusers names", OpenCLIP: "OpenCLIP names" }[style];
}
