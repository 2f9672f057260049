/** Which unlearning method a file looks to be of, what was trained, and what it is laid over. */
import { elementCount, isFloatDType } from "../formats/dtype.ts";
import type { TensorEntry, TensorFile } from "../formats/tensor-file.ts";
import { isEraser } from "./eraser.ts";
import type { Groups } from "./names/groups.ts";
import type { Component } from "./names/locate.ts";

/** What a file changes in a model. */
export interface Trained {
  /** The method or methods whose published code writes such a file; undefined if none is known to. */
  readonly method: string | undefined;
  readonly component: Component;
  readonly tensors: number;
  readonly parameters: number;
  /** Of all parameters of that component, 0 to 1, where the version of Stable Diffusion shows how many these are. */
  readonly share: number | undefined;
  /** Kinds of layers with how many of each there are, the most frequent first: `attn2.to_k.weight`. */
  readonly layers: readonly (readonly [layer: string, count: number])[];
  /** What else is needed to draw with it; undefined for a whole model. */
  readonly needs: string | undefined;
}

/** Parameters of the published models, counted from their files. */
const PARAMETERS: Readonly<Record<string, Partial<Record<Component, number>>>> = {
  "SD 1.x": { unet: 859_520_964, text_encoder: 123_060_480 },
  "SD 2.x": { unet: 865_910_724, text_encoder: 340_387_840 },
};

/**
 * @param whole whether the file has all tensors of that component @returns undefined for a file that changes no UNet and no text encoder,
 * or a model of its own
 */
export function trainedPart(
  file: TensorFile,
  groups: Groups,
  version: string | undefined,
  whole: (component: Component) => boolean,
): Trained | undefined {
  const { components, lowRank } = groups;
  if (components.has("vae") || components.size > 1) return undefined;
  const [group] = components.values();
  if (group && [...group.tensors.values()].some(({ dtype }) => !isFloatDType(dtype))) return undefined;
  const component: Component | undefined = group?.component ?? (lowRank.size > 0 ? "unet" : undefined);
  if (component === undefined) return undefined;
  const entries = group ? [...group.tensors.values()] : [...lowRank.keys()].map((name) => file.entries.get(name)!);
  const parameters = entries.reduce((sum, { shape }) => sum + (elementCount(shape) ?? 0), 0);
  const all = version === undefined ? undefined : PARAMETERS[version]?.[component];
  const complete = group !== undefined && whole(component);
  const base =
    version === undefined
      ? "a base model"
      : version.startsWith("a model")
        ? version.replace("a model", "a base model")
        : `a base model of ${version}`;
  return {
    method: group ? methodOf(groups, component, group.tensors, complete) : lowRankMethod(file),
    component,
    tensors: entries.length,
    parameters,
    share: all === undefined || lowRank.size > 0 ? undefined : Math.min(1, parameters / all),
    layers: layersOf(group ? [...group.tensors.keys()] : [...lowRank.values()].map(({ module }) => module)),
    needs: complete ? `${base}, for its other parts` : `${base}, whose own tensors stay where the file has none`,
  };
}

function methodOf(
  { copies, leftovers }: Groups,
  component: Component,
  tensors: ReadonlyMap<string, TensorEntry>,
  whole: boolean,
): string | undefined {
  const names = [...tensors.keys()];
  const cross = names.filter((name) => /attn2[._]/.test(name));
  if (component === "text_encoder") {
    if (copies.length > 0) return "AdvUnlearn (its training output, a wrapper that holds the encoder's modules twice)";
    return whole ? "AdvUnlearn (a text encoder trained whole)" : "a method that trains part of a text encoder";
  }
  if (component !== "unet") return undefined;
  if (isEraser(names)) return "Receler (adapters behind cross attention)";
  if (whole) return undefined; // ESD, SalUn, EraseDiff, FMN, EDiff, ScissorHands and others save whole UNets alike
  if (cross.length === names.length && names.every((name) => /attn2\.to_[kv]\.weight$/.test(name))) {
    return leftovers.includes("embed")
      ? "Concept Ablation (a delta of cross-attention keys and values)"
      : "UCE, RECE, ESD-x-strict or a Concept-Ablation delta (cross-attention keys and values)";
  }
  if (cross.length === names.length) return "ESD-x (cross attention)";
  return cross.length === 0 ? "ESD-u (all layers but cross attention)" : undefined;
}

/** SPM's code puts the erased prompts, the rank and the alpha into its files' metadata. Source: github.com/Con6924/SPM, infer_spm.py. */
export function isSpm({ metadata }: TensorFile): boolean {
  return metadata["prompts"] !== undefined && metadata["rank"] !== undefined && metadata["alpha"] !== undefined;
}

function lowRankMethod(file: TensorFile): string | undefined {
  if (!isSpm(file)) return undefined;
  return `SPM (erased: ${file.metadata["prompts"]!.slice(0, 200)}; its strength depends on the prompt, which is code and not in the file)`;
}

/**
 * The last parts of names, from the layer on: `down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight` is `attn2.to_k.weight`.
 */
function layersOf(names: readonly string[]): (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const name of names) {
    const layer = name.replace(/^.*(?:blocks|layers|attentions|resnets|samplers)[._]\d+[._]/, "");
    counts.set(layer, (counts.get(layer) ?? 0) + 1);
  }
  return [...counts].toSorted(([, a], [, b]) => b - a);
}
