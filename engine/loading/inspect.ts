/** What a file of tensors is: kind, names, version, what a model would miss in it. */
import type { Component } from "./names/locate.ts";
import { type Group, foldCopies, groupTensors } from "./names/groups.ts";
import { type FileKind, identify } from "./names/identify.ts";
import {
  type Json,
  type PredictionType, inferPredictionType, inferSecondTextConfig, inferTextConfig, inferUNetConfig, inferVaeConfig,
} from "./names/infer.ts";
import { componentFile } from "./names/view.ts";
import { FormatError } from "../formats/errors.ts";
import { type TensorEntry, type TensorFile, entrySize } from "../formats/tensor-file.ts";
import { ShapeError } from "../../kernels/kernel.ts";
import { InputError } from "../runtime/errors.ts";
import { type Trained, trainedPart } from "./method.ts";
import { Config } from "../nn/config.ts";
import { expectedTensors } from "./expected.ts";

/** Tensors counted. */
export interface TensorCount {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Tensors by element type. */
  readonly dtypes: Readonly<Record<string, number>>;
}

export interface InspectedComponent extends TensorCount {
  readonly component: Component;
  readonly names: Group["style"];
  /** Whether every tensor is there that a component of these levels, layers and widths has. */
  readonly whole: boolean;
  /** What is not, in diffusers' names; undefined if too little is there to say. */
  readonly missing: readonly string[] | undefined;
  /** Tensors of the component that it has no use for, in diffusers' names. */
  readonly extra: readonly string[];
}

export interface Inspection extends TensorCount {
  readonly kind: FileKind;
  /** One line, to be put after "looks like". */
  readonly description: string;
  readonly version: string | undefined;
  readonly components: readonly InspectedComponent[];
  /** Averaged (EMA) UNet tensors besides the plain ones. */
  readonly emaTensors: number;
  /** Of a whole UNet: what it seems to predict (see inferPredictionType). */
  readonly predictionType: PredictionType | undefined;
  /** What the file changes in a model, and by which method it may have been made; undefined for a model of its own and for other files. */
  readonly trained: Trained | undefined;
  /** Low-rank tensors. */
  readonly lowRankTensors: number;
  /** Tensors that training left and a model does not need. */
  readonly leftovers: number;
  /** The first few of their names. */
  readonly leftoverNames: readonly string[];
  /** Names that no rule knows. */
  readonly unknown: readonly string[];
}

/**
 * Looks at names and shapes; of the numbers at most one small tensor is read.
 * @throws FormatError if the file contradicts itself: two tensors in one place, two conventions of names in one component.
 */
export async function inspectTensorFile(file: TensorFile): Promise<Inspection> {
  const groups = await foldCopies(file, groupTensors(file));
  const identity = identify(file, groups);
  const components = [...groups.components.values()].map((group) => inspectGroup(file, group));
  const unet = groups.components.get("unet");
  const wholeUNet = unet && components.some((c) => c.component === "unet" && c.whole) ? componentFile(file, unet) : undefined;
  return {
    ...identity,
    ...countTensors(file.entries.values()),
    components,
    emaTensors: groups.ema.size,
    predictionType: wholeUNet && (await inferPredictionType(file, wholeUNet)),
    trained: trainedPart(file, groups, identity.version, (component) => components.some((c) => c.component === component && c.whole)),
    lowRankTensors: groups.lowRank.size,
    leftovers: groups.leftovers.length,
    leftoverNames: groups.leftovers.slice(0, 8),
    unknown: groups.unknown,
  };
}

function inspectGroup(file: TensorFile, group: Group): InspectedComponent {
  const count = { component: group.component, names: group.style, ...countTensors(group.tensors.values()) };
  try {
    const tensors = componentFile(file, group);
    const expected = expectedTensors(group.component, Config.of(file.name, configOf(group.component, tensors)));
    const missing = [...expected.keys()].filter((name) => !tensors.entries.has(name));
    return { ...count, whole: missing.length === 0, missing, extra: [...tensors.entries.keys()].filter((name) => !expected.has(name)) };
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof InputError || error instanceof ShapeError)) throw error;
    return { ...count, whole: false, missing: undefined, extra: [] }; // too little of it, or too odd, to tell what it is a part of
  }
}

function configOf(component: Component, tensors: TensorFile): Json {
  switch (component) {
    case "unet": return inferUNetConfig(tensors, 64, "names");
    case "vae": return inferVaeConfig(tensors, "names");
    case "text_encoder": return inferTextConfig(tensors, "names");
    case "text_encoder_2": return inferSecondTextConfig(tensors, "names");
  }
}

/** Number, elements, bytes and element types of tensors. */
export function countTensors(entries: Iterable<TensorEntry>): TensorCount {
  const dtypes: Record<string, number> = {};
  let [tensors, parameters, bytes] = [0, 0, 0];
  for (const entry of entries) {
    tensors++;
    parameters += entrySize(entry);
    bytes += entry.byteLength;
    dtypes[entry.dtype] = (dtypes[entry.dtype] ?? 0) + 1;
  }
  return { tensors, parameters, bytes, dtypes };
}
