/**
 * How an op is declared. A kernel is data: its shape rule, the dispatches that compute it, its cost and its gradient.
 * Nothing here knows a GPUDevice, so every rule can be tested without one.
 */

import type { AttentionTable } from "./attention-table.ts";
import type { GemmTable } from "./gemm-table.ts";
import type { MatrixDialect } from "./matrix-dialect.ts";

/** Dimensions, slowest first, row-major. */
export type Shape = readonly number[];

/**
 * "f16" is two halves packed in a u32 (`unpack2x16float`), used for stored weights only; it needs no device feature. A graph's values are
 * never f16: a schedule may store them so (`Dispatch.halves`).
 */
export type DType = "f32" | "f16" | "u32";

/**
 * Columns of a wider tensor, in whose memory they lie: each row of the last dimension starts `stride` elements after the one before, the
 * first at `offset`.
 */
export interface Columns {
  readonly stride: number;
  readonly offset: number;
  /** The same number for what lies in one tensor, given for outputs: one dispatch may bind a tensor for writing but once. */
  readonly of?: number;
}

/**
 * Where a tensor's elements lie. "rows": row by row, in memory of its own. "panels": a weight [.., k, n] as panels of PANEL columns,
 * [.., n/PANEL, k, PANEL]. Columns: in the memory of a wider tensor.
 */
export type Layout = "rows" | "panels" | Columns;

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Default: rows. */
  readonly layout?: Layout;
}

/** Whether a weight lies in panels of PANEL columns, each whole. */
export function isInPanels({ layout }: TensorType): boolean {
  return layout === "panels";
}

/** Where the columns lie; undefined for a tensor that has memory of its own. */
export function columnsOf({ layout }: TensorType): Columns | undefined {
  return typeof layout === "object" ? layout : undefined;
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
  /** Records one op; returns its outputs by name. @throws ShapeError for an input that its rule refuses, or from the shape rule */
  apply<A extends Attributes, In extends string, Out extends string, Optional extends string>(
    kernel: Kernel<A, In, Out, Optional>,
    inputs: ByName<In, Optional, Value>,
    attributes: A,
  ): Outputs<Out, Value>;
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
  readonly dialect: MatrixDialect;
}

/** What the device offers, as far as a kernel's choice of shader depends on it. */
export interface Capabilities {
  /** Lanes per subgroup when the device has the `subgroups` feature, and one size or shaders that state theirs; 0 otherwise. */
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
  /** Intermediate tensors are stored as f16 where every shader that touches them can (`${x as vec4f}`). */
  readonly halfActivations?: boolean;
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

/** What a storage variable of the shader is bound to: an input or output by name, scratch memory, or nothing (16 zero bytes). */
export type Binding = { readonly input: string } | { readonly output: string } | { readonly scratch: number } | "nothing";

export interface Dispatch {
  readonly shader: ShaderSource;
  readonly defines: Defines;
  /**
   * By the name of the shader's `var<storage, ...>`: what is not the op's input or output of that name. An optional input that is absent is
   * bound to nothing.
   */
  readonly bindings?: Readonly<Record<string, Binding>>;
  /** Variables of storage whose elements are f16. A plan leaves it out: what is stored so is settled for a whole schedule. */
  readonly halves?: readonly string[];
  /** By the field name of the shader's `struct Params`; u32, i32 or f32 scalars. Every field must be given. */
  readonly params: Readonly<Record<string, number>>;
  readonly workgroups: readonly [number, number, number];
}

/** What an input must be, checked before the shape rule is asked. */
export interface InputRule {
  readonly rank?: number;
  /** Default: f32. */
  readonly dtypes?: readonly DType[];
  /**
   * Layouts that the op reads beside rows: weights in panels, columns of a wider tensor. Panels are repacked to rows for an op that does
   * not read them; columns are refused.
   */
  readonly reads?: readonly ("panels" | "columns")[];
  /** May be absent; its variable in a shader is then bound to nothing. */
  readonly optional?: boolean;
}

/** Something for each input of an op, by name; optional ones may be absent. */
export type ByName<In extends string, Optional extends string, T> = { readonly [K in In]: T } & {
  readonly [K in Optional]?: T | undefined;
};

/** Something for each output of an op, by name. */
export type Outputs<Out extends string, T> = { readonly [K in Out]: T };

export interface PlanContext<A, In extends string, Out extends string, Optional extends string> {
  readonly inputs: ByName<In, Optional, TensorType>;
  readonly outputs: Outputs<Out, TensorType>;
  /** Which outputs anything reads. */
  readonly read: Outputs<Out, boolean>;
  readonly attributes: A;
  readonly capabilities: Capabilities;
  /** The inputs of `inPlace` are overwritten: only the outputs in their place may be bound. */
  readonly overwrites: boolean;
}

export interface Plan {
  /** Run in this order. */
  readonly dispatches: readonly Dispatch[];
  /** Bytes of each scratch buffer, live only during this op. */
  readonly scratch?: readonly number[];
}

export interface GradientContext<A, In extends string, Out extends string, Optional extends string> {
  readonly g: Recorder;
  readonly inputs: ByName<In, Optional, Value>;
  readonly outputs: Outputs<Out, Value>;
  readonly attributes: A;
  /** Which inputs lie between the loss and a wanted leaf; others may be left out. */
  readonly wanted: { readonly [K in In | Optional]: boolean };
}

export interface Cost {
  /** Multiply-add = 2. */
  readonly flops: number;
  /** Bytes read and written if every operand moved once. */
  readonly bytes: number;
}

/**
 * An op. Plain data: what a call makes stays in every bundle of the library, used or not.
 * Inputs and outputs go by name. A ShapeError thrown in here needs no op's name: it gets this one.
 */
export interface Kernel<A, In extends string = never, Out extends string = "y", Optional extends string = never> {
  /** The same everywhere: file, pipeline label, profile row, bench row, error text, test name. */
  readonly name: string;
  /** What each input must be, in the order in which a graph's nodes keep them. */
  readonly inputs: { readonly [K in In | Optional]: InputRule };
  /** One entry: what all further inputs must be. `{ x: {} }` are called x0, x1 and so on. */
  readonly rest?: Readonly<Record<string, InputRule>>;
  /** Default: y alone. */
  readonly outputs?: readonly Out[] | ((attributes: A) => readonly Out[]);
  /** Output types. @throws ShapeError naming the tensors and both shapes. */
  infer(inputs: ByName<In, Optional, TensorType>, attributes: A): { readonly [K in Out]?: TensorType };
  /**
   * An optional input of the output's shape that the op adds to its result, when these attributes let it be added last:
   * a sum with another tensor can then be had without an op of its own.
   */
  addend?(attributes: A): Optional | undefined;
  /**
   * A program that has it stores everything as f32: gradients of weights are sums over all positions, where errors that belong together
   * must still cancel.
   */
  readonly keepsF32?: boolean;
  /**
   * Absent: it reads what the rules of its inputs say, and writes rows.
   * "any": element by element the same in any layout; inputs of the first one's shape are repacked to its layout when the op is recorded.
   * "view": no dispatches; its outputs are its first input's memory, under other shapes or as columns.
   * "join": its output is the inputs side by side. What a kernel that writes columns makes for it alone goes to its place at once; `plan`
   * then sees columns as that input's layout.
   */
  readonly layout?: "any" | "view" | "join";
  /**
   * Whether its outputs can be written as columns of a wider tensor, in whole vec4s: `plan` then heeds the layout of the output types it is
   * given.
   */
  writesColumns?(inputs: ByName<In, Optional, TensorType>, attributes: A): boolean;
  /** By output: the input that it can be written over, element by element, when both are one tensor that lives across runs. All or none. */
  readonly inPlace?: { readonly [K in Out]?: In };
  /** Outputs that `plan` leaves out where nothing reads them; they get no memory. */
  readonly sparesOutputs?: readonly Out[];
  /** The dispatches; never called for a view. */
  plan?(context: PlanContext<A, In, Out, Optional>): Plan;
  /** FLOPs; bytes are counted from the types unless given. */
  cost?(inputs: ByName<In, Optional, TensorType>, outputs: Outputs<Out, TensorType>, attributes: A): Partial<Cost>;
  /**
   * Cotangents of the inputs from those of the outputs (undefined: that output does not reach the loss).
   * Absent: the op has no gradient and asking for one is an error that names it.
   */
  gradient?(
    cotangents: { readonly [K in Out]?: Value | undefined },
    context: GradientContext<A, In, Out, Optional>,
  ): { readonly [K in In | Optional]?: Value | undefined };
}

/** Attributes of an op that takes none. */
export type NoAttributes = Record<string, never>;

/** A shape, dtype or attribute that an op cannot take. The graph adds the module path. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
  private named: boolean;

  /** @param op left out within a kernel, whose name is then put before the message */
  constructor(...[first, second]: [message: string] | [op: string, message: string]) {
    super(second === undefined ? first : `${first}: ${second}`);
    this.named = second !== undefined;
  }

  /** Puts an op's name before the message, unless there is one. */
  of(op: string): this {
    if (!this.named) this.message = `${op}: ${this.message}`;
    this.named = true;
    return this;
  }
}

/** Numbers in a tensor of this shape; 1 for a scalar's []. */
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

/** Whether both have the same dimensions in the same order. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** `f32[2,3]`, as errors and tables print it. */
export function formatType(type: TensorType | undefined): string {
  if (type === undefined) return "absent";
  const columns = columnsOf(type);
  const layout = columns ? ` in rows of ${columns.stride} from ${columns.offset}` : isInPanels(type) ? " in panels" : "";
  return `${type.dtype}[${type.shape.join(",")}]${layout}`;
}

/** The type of a float32 tensor that lies row by row in memory of its own. */
export function f32(shape: Shape): TensorType {
  return { shape, dtype: "f32" };
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
