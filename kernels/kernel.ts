/**
 * How an op is declared. A kernel is data: its shape rule, the dispatches that compute it, its cost and its gradient.
 * Nothing here knows a GPUDevice, so every rule can be tested without one.
 */

import type { AttentionTable } from "./attention-table.ts";
import type { GemmTable } from "./gemm-table.ts";

/** Dimensions, slowest first, row-major. */
export type Shape = readonly number[];

/** "f16" is two halves packed in a u32 (`unpack2x16float`), used for stored weights only; it needs no device feature. */
export type DType = "f32" | "f16" | "u32";

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
  /** A weight [.., k, n] stored as panels of PANEL columns, [.., n/PANEL, k, PANEL]: for matmul and conv2d only. */
  readonly panels?: boolean;
  /**
   * Columns of a wider tensor, in whose memory they lie: each row of the last dimension starts `stride` elements after the one before, the
   * first at `offset`.
   */
  readonly columns?: {
    readonly stride: number;
    readonly offset: number;
    /** The same for what lies in one tensor, given for outputs: one dispatch may bind a tensor for writing but once. */
    readonly whole?: number;
  };
}

/** Columns of a panel of a stored weight. */
export const PANEL = 32;

/** A symbolic tensor of a recorded graph. */
export interface Value {
  readonly type: TensorType;
  /** Module path of the checkpoint plus the op, for errors, profile rows and captured intermediates. */
  readonly name: string;
}

/** Whatever ops can be recorded on: the graph itself, or the gradient pass writing into it. */
export interface Recorder {
  /** Records one op; returns its outputs. @throws ShapeError from the kernel's shape rule, with `name` filled in. */
  apply<A extends Attributes>(kernel: Kernel<A>, inputs: readonly (Value | undefined)[], attributes: A): Value[];
}

/** Plain JSON values only: attributes are part of cache keys and error texts. */
export type Attributes = { readonly [key: string]: string | number | boolean | readonly number[] | undefined };

/** Products of matrices that one subgroup computes: [m, k] times [k, n] of `component`s, added up in f32. */
export interface MatrixConfig {
  readonly component: "f16" | "f32";
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export interface MatrixUnits {
  readonly configs: readonly MatrixConfig[];
  /** Of a subgroup. */
  readonly lanes: number;
  /** The dialect of WGSL: loads and stores take a flag for column-major, and arrays of scalars alone. */
  readonly old: boolean;
}

/** What the device offers, as far as a kernel's choice of shader depends on it. */
export interface Capabilities {
  /** Lanes per subgroup when the device has the `subgroups` feature and one fixed size; 0 otherwise. */
  readonly subgroupSize: number;
  /** True on a software adapter (lavapipe, SwiftShader, WARP). */
  readonly software: boolean;
  /** The `shader-f16` feature was requested and is there. */
  readonly shaderF16: boolean;
  /** Matrix units that shaders may use; absent: none. */
  readonly matrixUnits?: MatrixUnits;
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxStorageBufferBindingSize: number;
  /** The variant of matrix product for each class, as measured on the device or asked for. Absent: one for all, by the kind of device. */
  readonly gemm?: GemmTable;
  /** The form of attention for each class of pass; absent: one for all, by the kind of device. */
  readonly attention?: AttentionTable;
  /** False: sums over rows go through workgroup memory also where subgroups are there. */
  readonly subgroupRows?: boolean;
}

/** Values for `${NAME}` and `#if ${NAME}` in a shader. A string may itself hold placeholders (a shared snippet). */
export type Defines = Readonly<Record<string, string | number | boolean>>;

export interface ShaderSource {
  /** File name without `.wgsl`; also the pipeline label and the profile row. */
  readonly name: string;
  readonly text: string;
}

/**
 * What a storage binding of the shader is bound to: the i-th input or output, scratch memory, or nothing (16 zero bytes, for an optional
 * input that is absent).
 */
export type Binding = { readonly input: number } | { readonly output: number } | { readonly scratch: number } | "nothing";

export interface Dispatch {
  readonly shader: ShaderSource;
  readonly defines: Defines;
  /** By the name of the shader's `var<storage, ...>`. Every storage variable left after preprocessing must be named. */
  readonly bindings: Readonly<Record<string, Binding>>;
  /** By the field name of the shader's `struct Params`; u32, i32 or f32 scalars. Every field must be given. */
  readonly params: Readonly<Record<string, number>>;
  readonly workgroups: readonly [number, number, number];
}

export interface PlanContext<A extends Attributes> {
  readonly inputs: readonly (TensorType | undefined)[];
  readonly outputs: readonly TensorType[];
  /** Which outputs anything reads. */
  readonly read: readonly boolean[];
  readonly attributes: A;
  readonly capabilities: Capabilities;
  /** The inputs of `inPlace` are overwritten: only the outputs in their place may be bound. */
  readonly overwrites?: boolean;
}

export interface Plan {
  /** Run in this order. */
  readonly dispatches: readonly Dispatch[];
  /** Bytes of each scratch buffer, live only during this op. */
  readonly scratch?: readonly number[];
}

export interface GradientContext<A extends Attributes> {
  readonly g: Recorder;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  readonly attributes: A;
  /** Which inputs lie between the loss and a wanted leaf; others may be left undefined. */
  readonly wanted: readonly boolean[];
}

export interface Cost {
  /** Multiply-add = 2. */
  readonly flops: number;
  /** Bytes read and written if every operand moved once. */
  readonly bytes: number;
}

export interface Kernel<A extends Attributes = Attributes> {
  /** The same everywhere: file, pipeline label, profile row, bench row, error text, test name. */
  readonly name: string;
  /** Output types. @throws ShapeError naming the tensors and both shapes. */
  infer(inputs: readonly (TensorType | undefined)[], attributes: A): TensorType[];
  /**
   * The place of an optional input of the output's shape that the op adds to its result, when these attributes let it be added last:
   * a sum with another tensor can then be had without an op of its own.
   */
  addend?(attributes: A): number | undefined;
  /** A view has no dispatches: its outputs are input 0's memory under other shapes. */
  readonly view?: boolean;
  /** Places of the inputs that may be weights in panels; others are repacked to rows when the op is recorded. */
  readonly readsPanels?: readonly number[];
  /** Element by element the same in any layout: inputs of the first one's shape are repacked to its layout when the op is recorded. */
  readonly alike?: boolean;
  /** Places of the inputs that may be columns of a wider tensor (`TensorType.columns`); others must be tensors of their own. */
  readonly readsColumns?: readonly number[];
  /**
   * Whether its outputs can be written as columns of a wider tensor, in whole vec4s: `plan` then heeds `columns` of the output types it is
   * given.
   */
  writesColumns?(inputs: readonly (TensorType | undefined)[], attributes: A): boolean;
  /**
   * For each output the input that it can be written over, element by element, when both are one tensor that lives across runs; undefined:
   * none. All are, or none is.
   */
  readonly inPlace?: readonly (number | undefined)[];
  /** Outputs that `plan` leaves out where nothing reads them; they get no memory. */
  readonly sparesOutputs?: readonly number[];
  /**
   * Output 0 is the inputs side by side. What a kernel that writes columns makes for it alone goes to its place at once; `plan` then sees
   * `columns` of that input's type.
   */
  readonly joins?: boolean;
  /** The dispatches; never called for a view. */
  plan?(context: PlanContext<A>): Plan;
  /** FLOPs; bytes are counted from the types unless given. */
  cost?(inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[], attributes: A): Partial<Cost>;
  /**
   * Cotangents of the inputs from those of the outputs (undefined: that output does not reach the loss).
   * Absent: the op has no gradient and asking for one is an error that names it.
   */
  gradient?(cotangents: readonly (Value | undefined)[], context: GradientContext<A>): (Value | undefined)[];
}

/** A shape, dtype or attribute that an op cannot take. The graph adds the module path. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  constructor(op: string, message: string) {
    super(`${op}: ${message}`);
  }
}

export function elementCount(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Bytes of a tensor's buffer: whole vec4s, so that a vec4 load of the last elements stays inside the buffer. */
export function byteLength(type: TensorType): number {
  const bytes = elementCount(type.shape) * (type.dtype === "f16" ? 2 : 4);
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** `f32[2,3]`, as errors and tables print it. */
export function formatType(type: TensorType | undefined): string {
  return type === undefined
    ? "absent"
    : `${type.dtype}[${type.shape.join(",")}]${type.panels ? " in panels" : ""}${type.columns ? (` in rows of ${type.columns.stride} ` +
      `from ${type.columns.offset}`) : ""}`;
}

export function f32(shape: Shape): TensorType {
  return { shape, dtype: "f32" };
}

/** The i-th input, present and of the wanted rank and dtype, stored row-major unless `panels` may be. @throws ShapeError otherwise. */
export function need(
  op: string,
  inputs: readonly (TensorType | undefined)[],
  index: number,
  name: string,
  rank?: number,
  dtypes: readonly DType[] = ["f32"],
  panels = false,
): TensorType {
  const type = inputs[index];
  if (type === undefined) throw new ShapeError(op, `input "${name}" (number ${index}) is missing`);
  if (rank !== undefined && type.shape.length !== rank) {
    throw new ShapeError(op, `input "${name}" must have ${rank} dimensions, got ${formatType(type)}`);
  }
  if (type.panels && !panels) throw new ShapeError(op, `input "${name}" must be stored row by row, got ${formatType(type)}`);
  if (!dtypes.includes(type.dtype)) throw new ShapeError(op, `input "${name}" must be ${dtypes.join(" or ")}, got ${formatType(type)}`);
  return type;
}

/** WebGPU's default limit on workgroups along one dimension. */
export const MAX_WORKGROUPS = 65535;

/**
 * `count` workgroups spread over x and y. The shader takes
 * `workgroup_id.x + workgroup_id.y * num_workgroups.x` as its index and returns when that is not below its own bound.
 */
export function spread(count: number): [number, number, number] {
  const y = Math.ceil(count / MAX_WORKGROUPS);
  return [Math.ceil(count / Math.max(1, y)), Math.max(1, y), 1];
}
