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
  for (const x of [q, k, v]) {
    if (x.columns && (!attentionTakesColumns(channels / heads) || x.columns.stride % 4 !== 0 || x.columns.offset % 4 !== 0)) throw new ShapeError(op, `columns of a wider tensor must start at whole vec4s and have heads of a multiple of 4 up to ${MAX_FLASH_HEAD} channels, got ${formatType(x)} with ${heads} heads`);
  }
  return { batch, heads, queries, keys, head: channels / heads };
}

// One pipeline for every head size on software adapters, where compiling is what costs and private arrays are memory anyway.
// On a GPU the head lies in registers, so its loops need constant bounds.
function headDefines(headVec4: number, software: boolean): Defines {
  return software ? { UNROLL: false, HEAD_VEC4: MAX_FLASH_HEAD / 4 } : { UNROLL: true, HEAD_VEC4: headVec4 };
}

/**
 * From this many rows and this much work (FLOPs) on, software adapters give a lane four rows of its tensor: each load of the other
 * two then serves four times as much. Measured at SD 1.4's shapes, against one row: 1.6 to 1.8 times the speed forward on lavapipe and SwiftShader,
 * 1.5 times in the gradients. Its pipeline takes twice as long to compile (2 s on lavapipe), so small models do with the other.
 */
const FOUR_ROWS_FROM = { rows: 48, flops: 1e7 };

/** How a flash shader is compiled, and the rows of one of its workgroups. */
export interface FlashForm {
  readonly defines: Defines;
  readonly block: number;
}

/**
 * The form of a flash shader whose lanes own `rows` rows of a head and walk over tiles of two other tensors. Broadcasting between lanes was measured
 * to pay on software adapters, where a lane is an element of a CPU vector. GPUs get the workgroup-memory form, the usual one there; not measured.
 * @param tiles names of those tensors' buffers in the shader
 * @param flops of the whole dispatch
 */
export function flashForm(headVec4: number, rows: number, flops: number, [tileA, tileB]: readonly [string, string], { subgroupSize, software }: Capabilities): FlashForm {
  const subgroups = software && subgroupSize >= 4;
  const split = subgroupSize === 4;
  const workgroup = software ? 16 : 64;
  const fourRows = software && rows >= FOUR_ROWS_FROM.rows && flops >= FOUR_ROWS_FROM.flops;
  return {
    block: fourRows ? 4 * workgroup : workgroup,
    defines: { ...headDefines(headVec4, software), TILE: tile, TILE_A: tileA, TILE_B: tileB, SUBGROUPS: subgroups, SPLIT: split, HIGH: split ? 0 : 4, WORKGROUP: workgroup, FOUR_ROWS: fourRows },
  };
}

/** Whether q, k, v and their gradients may be columns of wider tensors: the flash shaders take them by row stride, which padded heads do not have. */
export function attentionTakesColumns(head: number): boolean {
  return head % 4 === 0 && head <= MAX_FLASH_HEAD;
}

/** `rowStride<name>` and `offset<name>` of a flash shader, in vec4s, for a tensor of heads that may be columns of a wider one. */
export function rowPlace(name: string, { columns }: TensorType, heads: number, headVec4: number): Record<string, number> {
  return { [`rowStride${name}`]: columns ? columns.stride / 4 : heads * headVec4, [`offset${name}`]: columns ? columns.offset / 4 : 0 };
}

/** What `struct Params` of the three flash shaders has in common. @param inputs q, k and v first */
export function flashParams({ batch, heads, queries, keys }: AttentionSizes, headVec4: number, { causal, scale }: AttentionAttributes, inputs: readonly (TensorType | undefined)[]): Record<string, number> {
  const [q, k, v] = inputs as readonly [TensorType, TensorType, TensorType];
  const place = (name: string, type: TensorType): Record<string, number> => rowPlace(name, type, heads, headVec4);
  return { batch, heads, queries, keys, headVec4, ...place("Q", q), ...place("K", k), ...place("V", v), rowStrideO: heads * headVec4, causal: causal ? 1 : 0, scale };
}

/** Workgroups for `rows` rows of every head of every batch, `block` rows each. */
export function flashWorkgroups({ batch, heads }: AttentionSizes, rows: number, block: number): [number, number, number] {
  return spread(batch * heads * Math.ceil(rows / block));
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
