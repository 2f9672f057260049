import tile from "../shaders/lib/attention-tile.wgsl";
import windowWgsl from "../shaders/window.wgsl";
import { type Binding, type Capabilities, type Defines, type Dispatch, ShapeError, type TensorType, elementCount, formatType, need, spread } from "./kernel.ts";
import { perElement } from "./per-element.ts";

/** Largest head the flash kernels hold in registers; above it `attention` composes matmul and softmax. */
export const MAX_FLASH_HEAD = 160;

export type AttentionAttributes = {
  readonly heads: number;
  /** Query i sees keys 0..i. */
  readonly causal: boolean;
  /** Factor on q k^T. */
  readonly scale: number;
};

export interface AttentionSizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  /** Channels of one head. */
  readonly head: number;
}

/** Sizes of q [B, Tq, C], k and v [B, Tk, C], the first three inputs. @throws ShapeError if they do not fit together or C is not a multiple of heads. */
export function attentionSizes(op: string, inputs: readonly (TensorType | undefined)[], heads: number): AttentionSizes {
  const [q, k, v] = [need(op, inputs, 0, "q", 3), need(op, inputs, 1, "k", 3), need(op, inputs, 2, "v", 3)];
  const [batch, queries, channels] = q.shape as [number, number, number];
  const [, keys] = k.shape as [number, number, number];
  if (k.shape[0] !== batch || k.shape[2] !== channels) throw new ShapeError(op, `q ${formatType(q)} and k ${formatType(k)} must have the same batch and channels`);
  if (v.shape.some((d, i) => d !== k.shape[i])) throw new ShapeError(op, `k ${formatType(k)} and v ${formatType(v)} must have the same shape`);
  if (!Number.isInteger(heads) || heads < 1 || channels % heads !== 0) throw new ShapeError(op, `${channels} channels of q ${formatType(q)} cannot be split into ${heads} heads`);
  return { batch, heads, queries, keys, head: channels / heads };
}

// One pipeline for every head size on software adapters, where compiling is what costs and private arrays are memory anyway.
// On a GPU the head lies in registers, so its loops need constant bounds.
function headDefines(headVec4: number, software: boolean): Defines {
  return software ? { UNROLL: false, HEAD_VEC4: MAX_FLASH_HEAD / 4 } : { UNROLL: true, HEAD_VEC4: headVec4 };
}

/**
 * Defines shared by the three flash shaders, and the rows (lanes) of one workgroup. Broadcasting between lanes was measured
 * to pay on software adapters, where a lane is an element of a CPU vector. GPUs get the workgroup-memory form, the usual one there; not measured.
 */
export function flashDefines(headVec4: number, { subgroupSize, software }: Capabilities): { defines: Defines; workgroup: number } {
  const subgroups = software && subgroupSize >= 4;
  const split = subgroupSize === 4;
  const workgroup = software ? 16 : 64;
  return {
    workgroup,
    defines: { ...headDefines(headVec4, software), TILE: tile, SUBGROUPS: subgroups, SPLIT: split, ROW_MASK: split ? 3 : 7, SECOND: split ? 0 : 4, WORKGROUP: workgroup },
  };
}

/** `struct Params` of the three flash shaders for q, k and v in tensors of their own. */
export function flashParams({ batch, heads, queries, keys }: AttentionSizes, headVec4: number, { causal, scale }: AttentionAttributes): Record<string, number> {
  const rowStride = heads * headVec4;
  return {
    batch, heads, queries, keys, headVec4,
    rowStrideQ: rowStride, offsetQ: 0,
    rowStrideK: rowStride, offsetK: 0,
    rowStrideV: rowStride, offsetV: 0,
    rowStrideO: rowStride,
    causal: causal ? 1 : 0,
    scale,
  };
}

/** Workgroups for `rows` rows of every head of every batch, `perWorkgroup` rows each. */
export function flashWorkgroups({ batch, heads }: AttentionSizes, rows: number, perWorkgroup: number): [number, number, number] {
  return spread(batch * heads * Math.ceil(rows / perWorkgroup));
}

/**
 * The flash shaders read and write whole vec4s. Heads of other sizes are copied, padded with zeros (which change no dot
 * product), into scratch memory before, and their outputs back after.
 */
export class HeadPadding {
  readonly before: Dispatch[] = [];
  readonly after: Dispatch[] = [];
  readonly scratch: number[] = [];
  readonly headVec4: number;

  constructor(private readonly head: number) {
    this.headVec4 = Math.ceil(head / 4);
  }

  /** What a flash shader reads instead of `from`, a tensor of this type. */
  input(type: TensorType, from: Binding): Binding {
    if (this.head % 4 === 0) return from;
    const to = this.allocate(type);
    this.before.push(this.copy(type, from, to, this.head, this.headVec4 * 4));
    return to;
  }

  /** What a flash shader writes instead of `to`, a tensor of this type. */
  output(type: TensorType, to: Binding): Binding {
    if (this.head % 4 === 0) return to;
    const from = this.allocate(type);
    this.after.push(this.copy(type, from, to, this.headVec4 * 4, this.head));
    return from;
  }

  private allocate(type: TensorType): Binding {
    this.scratch.push((elementCount(type.shape) / this.head) * this.headVec4 * 16);
    return { scratch: this.scratch.length - 1 };
  }

  private copy(type: TensorType, from: Binding, to: Binding, columns: number, outColumns: number): Dispatch {
    const elements = (elementCount(type.shape) / this.head) * outColumns;
    return perElement({ name: "window", text: windowWgsl }, elements, { VEC4: false }, { x: from, y: to }, { elements, columns, outColumns, shift: 0 });
  }
}
