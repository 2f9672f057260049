import { scale } from "../../../kernels/elementwise.ts";
import { type DType, type Recorder, type Shape, type TensorType, type Value, elementCount, isInPanels } from "../../../kernels/kernel.ts";
import { gradients } from "../../runtime/autodiff.ts";
import type { Device } from "../../runtime/device.ts";
import { Graph } from "../../runtime/graph.ts";
import { makeSchedule } from "../../runtime/plan/schedule.ts";
import { type HostArray, Program } from "../../runtime/program.ts";
import { relativeError } from "../../runtime/relative-error.ts";
import { type WeightPrecision, packHalves, relayout, weightType } from "../../nn/weight-layout.ts";
import { float16ToFloat32, float32ToFloat16 } from "../../formats/half.ts";
import { tolerancesOf } from "../rows.ts";
import type { Array64 } from "./array64.ts";

export interface OpInput {
  readonly shape: Shape;
  readonly dtype?: Extract<DType, "f32" | "u32">;
  /** Without it: fresh normal numbers times `scale`. */
  readonly data?: ArrayLike<number>;
  readonly scale?: number;
  /**
   * A linear [in, out] or convolution [kh, kw, in, out] weight, laid out on the device as models store it in this precision (panels where
   * they fit). Has no gradient.
   */
  readonly stored?: WeightPrecision;
}

/** An op, what it is given, and what it should give. */
export interface OpSpec {
  readonly name: string;
  readonly inputs: Readonly<Record<string, OpInput>>;
  readonly build: (g: Recorder, v: Readonly<Record<string, Value>>) => Value | readonly Value[];
  readonly reference: (x: Readonly<Record<string, Array64>>) => Array64 | readonly Array64[];
  /** Inputs whose gradient on the device is compared with finite differences of the reference. */
  readonly gradients?: readonly string[];
  /** Relative L2; by default those of the project, of f16 operands on a device that rounds them. */
  readonly forwardTolerance?: number;
  /** What the op reads and gives goes through tensors that may be stored as f16; the numbers given are f16's. */
  readonly halves?: boolean;
  readonly gradientTolerance?: number;
}

/** One tensor compared. */
export interface OpComparison {
  /** "output 0", "gradient of x". */
  readonly tensor: string;
  /** Relative L2 error; Infinity if a value is not a number. */
  readonly error: number;
  readonly tolerance: number;
  /** Where the two differ most, in words. */
  readonly worst: string;
}

export interface OpResult {
  readonly comparisons: readonly OpComparison[];
  /** Names of the kernels that ran. */
  readonly kernels: ReadonlySet<string>;
  /** Of the device's run, compilation not included. */
  readonly milliseconds: number;
}

/**
 * A check of the same op with its tensors stored as f16, without gradients that keep all in f32 (of weights); undefined where none of them
 * can be on this device.
 */
export function withHalfTensors(spec: OpSpec, { capabilities }: Device): OpSpec | undefined {
  const halves = { ...spec, name: `${spec.name}, stored as f16`, halves: true };
  const stored = (wanted: readonly string[]): boolean => {
    const { graph, named } = recordSpec({ ...halves, gradients: wanted });
    return makeSchedule(graph, Object.values(named), capabilities).halves.size > 0;
  };
  return stored([]) ? { ...halves, gradients: (spec.gradients ?? []).filter((name) => stored([name])) } : undefined;
}

/** Numbers that f16 holds. */
const rounded = (data: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> => float16ToFloat32(float32ToFloat16(data));

/** Fresh standard normal numbers, rounded to float32 so that device and reference see the same. */
export function normals(count: number, deviation = 1): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = deviation * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return out;
}

function asList<T>(x: T | readonly T[]): readonly T[] {
  return Array.isArray(x) ? (x as readonly T[]) : [x as T];
}

/** Random numbers as a weight: what the device gets, and the same numbers row by row, as far as the precision keeps them. */
function storedWeight(
  shape: Shape,
  data: Float32Array<ArrayBuffer>,
  precision: WeightPrecision,
): { type: TensorType; data: HostArray; rounded: Float32Array } {
  const layout = shape.length === 2 ? "linear" : "conv";
  const type = weightType(shape, layout, precision);
  const checkpoint = [shape.at(-1)!, shape.at(-2)!, ...shape.slice(0, -2)];
  const given = type.dtype === "f16" ? float16ToFloat32(float32ToFloat16(data)) : data;
  const onDevice = relayout(given, checkpoint, layout, isInPanels(type));
  return { type, data: type.dtype === "f16" ? packHalves(onDevice) : onDevice, rounded: relayout(given, checkpoint, layout) };
}

const MAX_DIFFERENCES = 192; // elements differenced per input; a fresh choice each time when there are more

/** An op recorded with numbers of its own: what it reads, and what can be read of it. */
interface RecordedSpec {
  readonly graph: Graph;
  readonly host: Readonly<Record<string, HostArray>>;
  /** The same numbers, as the reference takes them. */
  readonly exact: Readonly<Record<string, Array64>>;
  readonly outputs: readonly Value[];
  /** `output 0`, `gradient of x`. */
  readonly named: Readonly<Record<string, Value>>;
  readonly cotangent: Float32Array<ArrayBuffer> | undefined;
}

/** Records an op and the gradients wanted of it, with fresh numbers. @throws Error for a spec that contradicts itself */
export function recordSpec(spec: OpSpec): RecordedSpec {
  const host: Record<string, HostArray> = {};
  const exact: Record<string, Array64> = {};
  const graph = new Graph();
  const values: Record<string, Value> = {};
  const through = (v: Value): Value => (spec.halves && v.type.dtype === "f32" ? scale(graph, v, 1) : v); // a copy, stored as f16
  for (const [name, input] of Object.entries(spec.inputs)) {
    const dtype = input.dtype ?? "f32";
    const count = elementCount(input.shape);
    const given =
      dtype === "u32"
        ? Uint32Array.from(input.data ?? Array.from({ length: count }, () => 0))
        : input.data
          ? Float32Array.from(input.data)
          : normals(count, input.scale);
    const data = spec.halves && given instanceof Float32Array ? rounded(given) : given;
    if (data.length !== count) throw new Error(`${spec.name}: input ${name} has ${data.length} numbers for [${input.shape.join(",")}]`);
    exact[name] = { shape: input.shape, data: Float64Array.from(data) };
    if (input.stored === undefined || !(data instanceof Float32Array)) {
      host[name] = data;
      values[name] = through(graph.input(name, { shape: input.shape, dtype }));
      continue;
    }
    const stored = storedWeight(input.shape, data, input.stored);
    host[name] = stored.data;
    exact[name] = { shape: input.shape, data: Float64Array.from(stored.rounded) };
    values[name] = graph.input(name, stored.type);
  }
  const outputs = asList(spec.build(graph, values));
  const wanted = spec.gradients ?? [];
  const named: Record<string, Value> = {};
  outputs.forEach((v, i) => (named[`output ${i}`] = through(v)));
  let cotangent: Float32Array<ArrayBuffer> | undefined;
  if (wanted.length > 0) {
    const seed = graph.input("cotangent", outputs[0]!.type);
    const numbers = normals(elementCount(outputs[0]!.type.shape));
    cotangent = spec.halves ? rounded(numbers) : numbers;
    host["cotangent"] = cotangent;
    gradients(graph, outputs[0]!, wanted.map((n) => values[n]!), through(seed)).forEach((v, i) => {
      if (!v) throw new Error(`${spec.name}: no gradient for ${wanted[i]}`);
      named[`gradient of ${wanted[i]}`] = through(v);
    });
  }
  return { graph, host, exact, outputs, named, cotangent };
}

/** Runs a recorded op on a device with poisoned memory. @throws whatever the device reports */
export async function computeSpec(
  device: Device,
  { graph, host, named }: RecordedSpec,
  label: string,
): Promise<Pick<OpResult, "kernels" | "milliseconds"> & { readonly results: Readonly<Record<string, HostArray>> }> {
  const made = await Program.create(device, graph, { outputs: named, poison: true, label });
  const kernels = new Set(made.nodes.flatMap((n) => (n.kernel ? [n.kernel.name] : [])));
  try {
    const started = performance.now();
    await made.run(host);
    const results = await made.read(); // throws what the device reported meanwhile
    return { kernels, milliseconds: performance.now() - started, results };
  } finally {
    made.destroy();
  }
}

/**
 * Runs an op on the device with poisoned memory and compares its outputs with the reference (tolerance 1e-5) and its gradients with central
 * differences of the reference (1e-4); on a device that rounds operands to f16, by the tolerances of these.
 * @throws Error for a spec that contradicts itself; whatever the device reports
 */
export async function runOpSpec(device: Device, spec: OpSpec): Promise<OpResult> {
  const recorded = recordSpec(spec);
  const { exact, outputs, cotangent } = recorded;
  const { results, kernels, milliseconds } = await computeSpec(device, recorded, spec.name);
  const tolerances = tolerancesOf({ halfPrecision: device.halfPrecision, halfWeights: false });
  const ofSpec = (own: number | undefined, general: number): number => (spec.halves ? Math.max(own ?? 0, general) : (own ?? general));
  const forwards = asList(spec.reference(exact)).map((expected, i) => {
    const shape = outputs[i]!.type.shape;
    if (expected.shape.join() !== shape.join()) {
      throw new Error(`${spec.name}: output ${i} has shape [${shape.join(",")}], the reference [${expected.shape.join(",")}]`);
    }
    return compare(`output ${i}`, results[`output ${i}`]!, expected.data, ofSpec(spec.forwardTolerance, tolerances.opForward));
  });
  const gradientTolerance = ofSpec(spec.gradientTolerance, tolerances.opGradient);
  const backwards = (spec.gradients ?? []).map((name) =>
    compareDifferences(spec, name, exact, results[`gradient of ${name}`]!, cotangent!, gradientTolerance),
  );
  return { comparisons: [...forwards, ...backwards], kernels, milliseconds };
}

function compare(tensor: string, actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): OpComparison {
  const error = relativeError(actual, expected);
  const worst = Array.from({ length: expected.length }, (_, i) => i).reduce(
    (a, b) => (Math.abs(actual[b]! - expected[b]!) > Math.abs(actual[a]! - expected[a]!) || Number.isNaN(actual[b]!) ? b : a),
    0,
  );
  return { tensor, error, tolerance, worst: `worst at ${worst}: ${actual[worst]} instead of ${expected[worst]}` };
}

function compareDifferences(
  spec: OpSpec,
  name: string,
  exact: Readonly<Record<string, Array64>>,
  gradient: ArrayLike<number>,
  cotangent: ArrayLike<number>,
  tolerance: number,
): OpComparison {
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
  return compare(`gradient of ${name}`, indices.map((i) => gradient[i]!), expected, tolerance);
}
