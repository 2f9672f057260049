import { type DType, type Recorder, type Shape, type Value, elementCount } from "../../kernels/kernel.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { type HostArray, Program } from "../../engine/runtime/program.ts";
import { testDevice } from "./device.ts";

/** A float64 array, as the plain reference implementations take and give it. */
export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export interface OpInput {
  readonly shape: Shape;
  readonly dtype?: Extract<DType, "f32" | "u32">;
  /** Without it: fresh normal numbers times `scale`. */
  readonly data?: ArrayLike<number>;
  readonly scale?: number;
}

export interface OpSpec {
  readonly name: string;
  readonly inputs: Readonly<Record<string, OpInput>>;
  readonly build: (g: Recorder, v: Readonly<Record<string, Value>>) => Value | readonly Value[];
  readonly reference: (x: Readonly<Record<string, Array64>>) => Array64 | readonly Array64[];
  /** Inputs whose gradient on the device is compared with finite differences of the reference. */
  readonly gradients?: readonly string[];
  readonly forwardTolerance?: number;
  readonly gradientTolerance?: number;
}

/** Relative L2 error ||a - b|| / ||b||; the absolute norm of a where b is all zero. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} elements compared with ${b.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
  return Number.isNaN(error) ? Infinity : error;
}

/** Fresh standard normal numbers, rounded to float32 so that device and reference see the same. */
export function normals(count: number, scale = 1): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = scale * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return out;
}

function asList<T>(x: T | readonly T[]): readonly T[] {
  return Array.isArray(x) ? (x as readonly T[]) : [x as T];
}

const MAX_DIFFERENCES = 192; // elements differenced per input; a fresh choice each time when there are more

/**
 * Runs an op on the device with poisoned memory and compares its outputs with the reference
 * (relative L2, 1e-5) and its gradients with central differences of the reference (1e-4).
 * @throws Error saying which tensor, the error and the tolerance.
 */
export async function checkOp(spec: OpSpec): Promise<void> {
  const device = await testDevice();
  const forwardTolerance = spec.forwardTolerance ?? 1e-5;
  const gradientTolerance = spec.gradientTolerance ?? 1e-4;
  const host: Record<string, HostArray> = {};
  const exact: Record<string, Array64> = {};
  const graph = new Graph();
  const values: Record<string, Value> = {};
  for (const [name, input] of Object.entries(spec.inputs)) {
    const dtype = input.dtype ?? "f32";
    const count = elementCount(input.shape);
    const data = dtype === "u32" ? Uint32Array.from(input.data ?? new Array<number>(count).fill(0)) : input.data ? Float32Array.from(input.data) : normals(count, input.scale);
    if (data.length !== count) throw new Error(`${spec.name}: input ${name} has ${data.length} numbers for [${input.shape.join(",")}]`);
    host[name] = data;
    exact[name] = { shape: input.shape, data: Float64Array.from(data) };
    values[name] = graph.input(name, { shape: input.shape, dtype });
  }
  const outputs = asList(spec.build(graph, values));
  const wanted = spec.gradients ?? [];
  const cotangentShape = outputs[0]!.type.shape;
  const program: Record<string, Value> = {};
  outputs.forEach((v, i) => (program[`output ${i}`] = v));
  let cotangent: Float32Array<ArrayBuffer> | undefined;
  if (wanted.length > 0) {
    const seed = graph.input("cotangent", outputs[0]!.type);
    cotangent = normals(elementCount(cotangentShape));
    host["cotangent"] = cotangent;
    gradients(graph, outputs[0]!, wanted.map((n) => values[n]!), seed).forEach((v, i) => {
      if (!v) throw new Error(`${spec.name}: no gradient for ${wanted[i]}`);
      program[`gradient of ${wanted[i]}`] = v;
    });
  }
  const made = await Program.create(device, graph, { outputs: program, poison: true, label: spec.name });
  let results: Record<string, HostArray>;
  try {
    made.run(host);
    results = await made.read(); // throws what the device reported meanwhile
  } finally {
    made.destroy();
  }
  asList(spec.reference(exact)).forEach((expected, i) => {
    const shape = outputs[i]!.type.shape;
    if (expected.shape.join() !== shape.join()) throw new Error(`${spec.name}: output ${i} has shape [${shape.join(",")}], the reference [${expected.shape.join(",")}]`);
    expectClose(spec.name, `output ${i}`, results[`output ${i}`]!, expected.data, forwardTolerance);
  });
  for (const name of wanted) checkDifferences(spec, name, exact, results[`gradient of ${name}`]!, cotangent!, gradientTolerance);
}

function expectClose(op: string, tensor: string, actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  const error = relativeError(actual, expected);
  if (error <= tolerance) return;
  const worst = Array.from({ length: expected.length }, (_, i) => i).reduce((a, b) => (Math.abs(actual[b]! - expected[b]!) > Math.abs(actual[a]! - expected[a]!) || Number.isNaN(actual[b]!) ? b : a), 0);
  throw new Error(`${op}: ${tensor} is off by ${error.toExponential(2)} (tolerance ${tolerance}); worst at ${worst}: ${actual[worst]} instead of ${expected[worst]}`);
}

function checkDifferences(spec: OpSpec, name: string, exact: Readonly<Record<string, Array64>>, gradient: ArrayLike<number>, cotangent: ArrayLike<number>, tolerance: number): void {
  const x = exact[name]!;
  const objective = (): number => {
    const y = asList(spec.reference(exact))[0]!.data;
    let sum = 0;
    for (let i = 0; i < y.length; i++) sum += y[i]! * cotangent[i]!;
    return sum;
  };
  let indices = Array.from({ length: x.data.length }, (_, i) => i);
  while (indices.length > MAX_DIFFERENCES) indices = indices.filter(() => Math.random() < Math.max(0.5, MAX_DIFFERENCES / indices.length));
  const h = 1e-5;
  const expected = indices.map((i) => {
    const saved = x.data[i]!;
    x.data[i] = saved + h;
    const plus = objective();
    x.data[i] = saved - h;
    const minus = objective();
    x.data[i] = saved;
    return (plus - minus) / (2 * h);
  });
  expectClose(spec.name, `gradient of ${name}`, indices.map((i) => gradient[i]!), expected, tolerance);
}
