// A leaf's numbers between the checkpoint's tensors and the order that its op reads.
import { type Shape, type TensorType, elementCount, isInPanels } from "../../kernels/kernel.ts";
import { joined } from "./array.ts";
import {
  type WeightLayout, type WeightNumbers, checkpointOrder, halfWords, inFours, packHalves, relayout,
} from "./weight-layout.ts";

/** Numbers of the checkpoint's tensors. */
export interface LeafSource {
  readFloat32(tensor: string): Promise<Float32Array<ArrayBuffer>>;
  /** Binary16 bit patterns of a tensor stored as such; undefined for any other, and for sources that change their numbers. */
  readFloat16?(tensor: string): Promise<Uint16Array<ArrayBuffer>> | undefined;
}

/** What a leaf is made of. */
export interface Leaf {
  /** One tensor, or several stacked along their first stored dimension: outputs side by side. */
  readonly tensors: readonly string[];
  readonly layout: WeightLayout;
  readonly type: TensorType;
  /**
   * Absent: all stored rows in their order. "gated": in fours, two of the first half and two of the second, as matmulGeglu takes values and
   * gates. From one on: a block of a table, of as many rows as its type has.
   */
  readonly rows?: "gated" | { readonly from: number };
}

/** Where a block of a table begins; undefined for any other leaf. */
export function firstRow({ rows }: Leaf): number | undefined {
  return typeof rows === "object" ? rows.from : undefined;
}

/** Shape of a leaf as a checkpoint would store it as one tensor. */
function whole([first, ...rest]: readonly Shape[]): Shape {
  return [rest.reduce((n, shape) => n + shape[0]!, first![0]!), ...first!.slice(1)];
}

/**
 * What is uploaded for a leaf. Halves that stay halves are only moved: a third of the CPU time (4.6 ms a million numbers, not 13) and two
 * thirds of the memory of going by way of floats.
 * @param stored shapes of its tensors @returns f32, or halves in pairs @throws as the source
 */
export async function readLeaf(
  leaf: Leaf,
  stored: readonly Shape[],
  source: LeafSource,
): Promise<Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>> {
  const { tensors, type } = leaf;
  if (type.dtype === "f16") {
    const halves = await Promise.all(tensors.map((tensor) => source.readFloat16?.(tensor)));
    if (halves.every((part) => part !== undefined)) return halfWords(arranged(leaf, stored, halves));
  }
  const parts: Float32Array<ArrayBuffer>[] = [];
  for (const tensor of tensors) parts.push(await source.readFloat32(tensor));
  const data = arranged(leaf, stored, parts);
  if (type.dtype === "f16") return packHalves(data);
  const from = firstRow(leaf);
  return from === undefined ? data : data.subarray(from * type.shape[1]!, (from + type.shape[0]!) * type.shape[1]!);
}

/** A leaf's tensors as stored, in the order of the device. */
function arranged<T extends WeightNumbers>({ rows, layout, type }: Leaf, stored: readonly Shape[], parts: readonly T[]): T {
  const shape = whole(stored);
  const data: T = parts.length === 1 ? parts[0]! : joined<T>(parts);
  return relayout(rows === "gated" ? inFours(data, shape[0]!) : data, shape, layout, isInPanels(type));
}

/**
 * A leaf's gradient (of its shape, without panels) by the checkpoint's tensors and in their order: linear [out, in], convolution OIHW; of a
 * table's block its rows.
 * @param stored shapes of its tensors
 */
export function leafInCheckpointOrder(
  { tensors, layout, rows }: Leaf,
  data: Float32Array<ArrayBuffer>,
  stored: readonly Shape[],
): Map<string, Float32Array<ArrayBuffer>> {
  const shape = whole(stored);
  const ordered = layout === "plain" ? data : checkpointOrder(data, shape);
  if (rows === "gated") return new Map([[tensors[0]!, inFours(ordered, shape[0]!, true)]]);
  if (rows) return new Map([[tensors[0]!, ordered]]);
  let at = 0;
  return new Map(tensors.map((tensor, i) => [tensor, ordered.subarray(at, (at += elementCount(stored[i]!)))]));
}
