import {
  type Attributes, type ByName, type Kernel, type Outputs, type Recorder, type Shape, ShapeError, type TensorType, type Value, elementCount,
  formatType, isInPanels, sameShape,
} from "../../kernels/kernel.ts";
import { type PlacedKernel, placedKernel } from "../../kernels/placed-kernel.ts";
import { repack } from "../../kernels/repack.ts";
import type { Tensor } from "./tensor.ts";

/** Where a leaf's numbers come from. */
export type Leaf =
  /** Written before each run by its name. */
  | { readonly kind: "input" }
  /** Looked up by its name when the program is made: a weight. */
  | { readonly kind: "parameter" }
  /** A tensor that lives on the device across runs: state. */
  | { readonly kind: "tensor"; readonly tensor: Tensor }
  /** A few numbers known when the graph is recorded. */
  | { readonly kind: "constant"; readonly data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> };

export interface GraphNode {
  /** Position in recording order, which is a topological order. */
  readonly id: number;
  readonly name: string;
  readonly inputs: readonly (GraphValue | undefined)[];
  readonly outputs: readonly GraphValue[];
  readonly leaf?: Leaf;
  readonly kernel?: PlacedKernel;
  readonly attributes: Attributes;
  /** Innermost recompute region this node was recorded in, if any. */
  readonly region?: number;
  /** Computed with f32 operands whatever the device was told. */
  readonly precise: boolean;
}

export interface GraphValue extends Value {
  readonly node: GraphNode;
  readonly output: number;
}

/**
 * A recorded computation: ops applied to leaves, with shapes inferred as they are recorded and named by module path.
 * Nothing touches a device until a Program is made of it.
 */
export class Graph implements Recorder {
  readonly nodes: GraphNode[] = [];
  /** Values captured by module path (`capture`), for comparison with a reference run. */
  readonly captured = new Map<string, GraphValue>();
  /** With --math f16, whether values between ops may be stored as f16. False where the rounding is handed on, as by a sampler's steps. */
  storesHalves = true;
  private readonly leaves = new Map<string, GraphValue>();
  private path: string[] = [];
  private region: number | undefined;
  private regionCount = 0;
  private isPrecise = false;

  /** @param recomputes false ignores `recompute` regions: more memory, less arithmetic in a gradient */
  constructor(private readonly recomputes = false) {}

  /** The module path of what is being recorded, `a.b.c`. */
  get modulePath(): string {
    return this.path.join(".");
  }

  /** Records `body` below the module path `name` (which may itself hold dots) and captures the value it returns under that path. */
  scope<T>(name: string, body: () => T): T {
    this.path.push(name);
    try {
      const result = body();
      if (isValue(result)) this.captured.set(this.modulePath, asGraphValue(result));
      return result;
    } finally {
      this.path.pop();
    }
  }

  /**
   * Records `body` as a recompute region: when a gradient passes through it, its inner values are computed again from
   * the region's inputs, so they need not stay in memory between the two passes.
   */
  recompute<T>(body: () => T): T {
    if (!this.recomputes) return body();
    const outer = this.region;
    this.region = ++this.regionCount;
    try {
      return body();
    } finally {
      this.region = outer;
    }
  }

  /**
   * Records `body` to be computed with f32 operands, also where products round theirs to f16 (--math f16).
   * @param on false: as it would be without
   */
  precise<T>(body: () => T, on = true): T {
    const outer = this.isPrecise;
    this.isPrecise ||= on;
    try {
      return body();
    } finally {
      this.isPrecise = outer;
    }
  }

  /** Captures a value under the module path joined with `name`, which may be empty. */
  capture(name: string, value: Value): void {
    this.captured.set([...this.path, name].filter(Boolean).join("."), asGraphValue(value));
  }

  /** A leaf written before each run. @throws Error if the name is taken by a leaf of another type. */
  input(name: string, type: TensorType): GraphValue {
    return this.leafOnce(name, type, { kind: "input" });
  }

  /** A weight, bound by its name when the program is made. Asking twice gives the same value. */
  parameter(name: string, type: TensorType): GraphValue {
    return this.leafOnce(name, type, { kind: "parameter" });
  }

  /** A tensor that lives on the device across runs. @throws ShapeError if another tensor has its name */
  tensor(tensor: Tensor): GraphValue {
    const value = this.leafOnce(tensor.name, tensor.type, { kind: "tensor", tensor });
    const { leaf } = value.node;
    if (leaf?.kind === "tensor" && leaf.tensor !== tensor) throw new ShapeError("graph", `two tensors are called "${tensor.name}"`);
    return value;
  }

  /** Numbers known now; `shape` must hold exactly `data.length` elements. */
  constant(name: string, shape: Shape, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): GraphValue {
    if (elementCount(shape) !== data.length) {
      throw new ShapeError("constant", `"${name}" has ${data.length} numbers for shape [${shape.join(",")}]`);
    }
    const dtype = data instanceof Float32Array ? "f32" : "u32";
    return this.record(name, [], [{ shape, dtype }], {}, undefined, { kind: "constant", data })[0]!;
  }

  /** Records an op. @returns its outputs by name @throws ShapeError naming op, tensor and types if inputs or attributes do not fit */
  apply<A extends Attributes, In extends string, Out extends string, Optional extends string>(
    kernel: Kernel<A, In, Out, Optional>,
    inputs: ByName<In, Optional, Value>,
    attributes: A,
  ): Outputs<Out, GraphValue> {
    const placed = placedKernel(kernel);
    const places = placed.toPlaces<Value>(inputs).map((v) => v && asGraphValue(v));
    return placed.outputsByName(this.applyPlaced(placed, places, attributes), attributes) as Outputs<Out, GraphValue>;
  }

  /** The same with inputs and outputs by place. @param precise see `precise` @throws ShapeError as `apply` */
  applyPlaced(
    kernel: PlacedKernel,
    inputs: readonly (GraphValue | undefined)[],
    attributes: Attributes,
    precise = this.isPrecise,
  ): readonly GraphValue[] {
    const values = this.laidOut(kernel, inputs);
    let types: TensorType[];
    try {
      types = kernel.infer(values.map((v) => v?.type), attributes);
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      const where = this.modulePath ? ` (in ${this.modulePath})` : "";
      const from = values.map((v) => (v ? `${v.name}: ${formatType(v.type)}` : "absent")).join(", ");
      error.message = `${error.message}${where}; inputs: ${from}`;
      throw error;
    }
    return this.record([...this.path, kernel.name].join("."), values, types, attributes, kernel, undefined, precise);
  }

  /** The inputs in layouts that the op reads, repacked where they are not. */
  private laidOut(kernel: PlacedKernel, inputs: readonly (GraphValue | undefined)[]): (GraphValue | undefined)[] {
    const first = inputs[0]?.type;
    return inputs.map((v, i) => {
      if (v === undefined || (kernel.layout === "any" && !sameShape(v.type.shape, first!.shape))) return v;
      const panels = isInPanels(v.type);
      const wanted = kernel.layout === "any" ? isInPanels(first!) : panels && kernel.readsPanels(i);
      return panels === wanted ? v : asGraphValue(repack(this, v));
    });
  }

  private leafOnce(name: string, type: TensorType, leaf: Leaf): GraphValue {
    const known = this.leaves.get(name);
    if (known) {
      const same = formatType(known.type) === formatType(type) && known.node.leaf!.kind === leaf.kind;
      if (!same) {
        const exists = `exists as ${known.node.leaf!.kind} ${formatType(known.type)}`;
        throw new ShapeError("graph", `leaf "${name}" is asked for as ${leaf.kind} ${formatType(type)} but ${exists}`);
      }
      return known;
    }
    const value = this.record(name, [], [type], {}, undefined, leaf)[0]!;
    this.leaves.set(name, value);
    return value;
  }

  private record(
    name: string,
    inputs: (GraphValue | undefined)[],
    types: TensorType[],
    attributes: Attributes,
    kernel: PlacedKernel | undefined,
    leaf: Leaf | undefined,
    precise = false,
  ): GraphValue[] {
    const outputs: GraphValue[] = [];
    const node: GraphNode = {
      id: this.nodes.length,
      name,
      inputs,
      outputs,
      attributes,
      precise,
      ...(kernel && { kernel }),
      ...(leaf && { leaf }),
      ...(this.region !== undefined && !leaf && { region: this.region }),
    };
    types.forEach((type, output) => outputs.push({ type, name: types.length > 1 ? `${name}#${output}` : name, node, output }));
    this.nodes.push(node);
    return outputs;
  }
}

function isValue(x: unknown): x is Value {
  return typeof x === "object" && x !== null && "node" in x && "output" in x && "type" in x;
}

/** A Value handed back by a kernel's gradient or a model is always one of the graph's own. */
export function asGraphValue(value: Value): GraphValue {
  if (!isValue(value)) throw new TypeError(`not a value of a graph: ${String(value)}`);
  return value as GraphValue;
}
