import passWgsl from "../shaders/lib/attention-pass.wgsl";
import windowWgsl from "../shaders/window.wgsl";
import {
  type Binding, type ByName, type Dispatch, type InputRule, ShapeError, type TensorType, type Value, columnsOf, elementCount, formatType,
} from "./kernel.ts";
import type { PassName } from "./attention-table.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

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

/** q, k and v. */
export type Qkv<T> = ByName<"q" | "k" | "v", never, T>;

/** What each of them must be. (A property of a constant read while modules load would keep all of attention in every consumer's bundle.) */
export const QKV_RULE: InputRule = { rank: 3, reads: ["columns"] };

/**
 * Sizes of q [B, Tq, C], k and v [B, Tk, C].
 * @throws ShapeError if they do not fit together or C is not a multiple of heads.
 */
export function attentionSizes({ q, k, v }: Qkv<TensorType>, heads: number): AttentionSizes {
  const [batch, queries, channels] = q.shape as [number, number, number];
  const [, keys] = k.shape as [number, number, number];
  if (k.shape[0] !== batch || k.shape[2] !== channels) {
    throw new ShapeError(`q ${formatType(q)} and k ${formatType(k)} must have the same batch and channels`);
  }
  if (v.shape.some((d, i) => d !== k.shape[i])) {
    throw new ShapeError(`k ${formatType(k)} and v ${formatType(v)} must have the same shape`);
  }
  if (!Number.isInteger(heads) || heads < 1 || channels % heads !== 0) {
    throw new ShapeError(`${channels} channels of q ${formatType(q)} cannot be split into ${heads} heads`);
  }
  for (const x of [q, k, v]) {
    const columns = columnsOf(x);
    if (columns && (!attentionTakesColumns(channels / heads) || columns.stride % 4 !== 0 || columns.offset % 4 !== 0)) {
      throw new ShapeError(
        `columns of a wider tensor must start at whole vec4s and have heads of a multiple of 4 up to ${MAX_FLASH_HEAD} channels, got ` +
          `${formatType(x)} with ${heads} heads`,
      );
    }
  }
  return { batch, heads, queries, keys, head: channels / heads };
}

/** The same of values that are about to be recorded. @throws ShapeError as `attentionSizes`, or if one has not 3 dimensions */
export function sizesOf(values: Qkv<Value>, heads: number): AttentionSizes {
  const types = { q: values.q.type, k: values.k.type, v: values.v.type };
  for (const [name, type] of Object.entries(types)) {
    if (type.shape.length !== 3) throw new ShapeError("attention", `input "${name}" must have 3 dimensions, got ${formatType(type)}`);
  }
  try {
    return attentionSizes(types, heads);
  } catch (error) {
    throw error instanceof ShapeError ? error.of("attention") : error;
  }
}

/**
 * Whether q, k, v and their gradients may be columns of wider tensors: the flash shaders take them by row stride, which padded heads do not
 * have.
 */
export function attentionTakesColumns(head: number): boolean {
  return head % 4 === 0 && head <= MAX_FLASH_HEAD;
}

/** Rows of a tensor of heads that may be columns of a wider one, in vec4s. */
export interface RowPlace {
  readonly rowStride: number;
  readonly offset: number;
}

/** Where rows [.., heads, head] lie, in vec4s: in memory of their own, or as columns of a wider tensor. */
export function rowPlace(type: TensorType, heads: number, headVec4: number): RowPlace {
  const columns = columnsOf(type);
  return columns ? { rowStride: columns.stride / 4, offset: columns.offset / 4 } : { rowStride: heads * headVec4, offset: 0 };
}

/** The fields `rowStride<name>` and `offset<name>` of a flash shader's `struct Params`. */
export function placeParams(name: string, { rowStride, offset }: RowPlace): Record<string, number> {
  return { [`rowStride${name}`]: rowStride, [`offset${name}`]: offset };
}

/** What `struct Params` of the three flash passes has in common. */
export function flashParams(
  { batch, heads, queries, keys }: AttentionSizes,
  headVec4: number,
  { causal, scale }: AttentionAttributes,
  inputs: Qkv<TensorType>,
): Record<string, number> {
  const places = (["q", "k", "v"] as const).map((name) => placeParams(name.toUpperCase(), rowPlace(inputs[name], heads, headVec4)));
  return {
    batch,
    heads,
    queries,
    keys,
    headVec4,
    ...(Object.assign({}, ...places) as Record<string, number>),
    rowStrideO: heads * headVec4,
    causal: causal ? 1 : 0,
    scale,
  };
}

/** An output of a pass: the shader's variable, which names its place in `struct Params` too (`rowStrideDQ` of dQ). */
export interface PassOutput {
  readonly name: "o" | "dQ" | "dK" | "dV";
  readonly binding: Binding;
  /** Absent for o, which lies as `flashParams` says. */
  readonly place?: RowPlace;
}

/** A flash pass, whatever form computes it. */
export interface FlashPass {
  readonly name: PassName;
  readonly sizes: AttentionSizes;
  readonly headVec4: number;
  /** FLOPs of the pass. */
  readonly flops: number;
  /** All but those of the outputs. */
  readonly bindings: Readonly<Record<string, Binding>>;
  /** Of `flashParams`. */
  readonly params: Readonly<Record<string, number>>;
  readonly outputs: readonly PassOutput[];
  /** dK and dV lie in one tensor, which a dispatch may bind but once. */
  readonly joint?: boolean;
  /** Bytes of the op's scratch buffers so far; those that the pass needs are added. */
  readonly scratch: number[];
}

/** What a pass's dispatch has of `shaders/lib/attention-pass.wgsl`. @param blocks its form computes by blocks */
export function passDispatch(
  { name, bindings, params, outputs, joint = false }: FlashPass,
  blocks: boolean,
): Pick<Dispatch, "defines" | "params"> & { readonly bindings: Readonly<Record<string, Binding>> } {
  const places = outputs.map((output) => (output.place ? placeParams(output.name.replace("d", "D"), output.place) : {}));
  return {
    defines: {
      PASS: passWgsl,
      FORWARD: name === "forward",
      QUERY: name === "query",
      JOINT: joint,
      VEC4: true,
      BLOCKS: blocks,
      SIGNED: false,
      GAIN: false,
    },
    bindings: { ...bindings, ...Object.fromEntries((joint ? outputs.slice(0, 1) : outputs).map((o) => [o.name, o.binding])) },
    params: { ...params, ...(Object.assign({}, ...places) as Record<string, number>) },
  };
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
    const count = (elementCount(type.shape) / this.head) * outColumns;
    const options = { defines: packing(1).defines, bindings: { x: from, y: to } };
    return pointwise({ name: "window", text: windowWgsl }, { count, columns, outColumns, shift: 0 }, options);
  }
}
