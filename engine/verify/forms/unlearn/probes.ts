import { isObject } from "../../../formats/file-system.ts";
import { hashNumbers } from "../../../loading/synthetic.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Trainer } from "../../../train/trainer.ts";
import type { Measure } from "../../rows.ts";
import { part } from "../../layout.ts";
import type { Trace } from "./trace.ts";

/** Tensors of a training by the names of the trace's `trained`. */
export type Named = ReadonlyMap<string, NDArray>;

/** Tensors by component and name. */
export type Components = ReadonlyMap<string, Named>;

/** A tensor's norm and its dot product with the hashed numbers of its name, in float64. */
export function probe(name: string, data: ArrayLike<number>): { readonly norm: number; readonly dot: number } {
  const h = hashNumbers(`probe.${name}`, data.length, 0, 1);
  let [squares, dot] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    squares += data[i]! * data[i]!;
    dot += data[i]! * h[i]!;
  }
  return { norm: Math.sqrt(squares), dot };
}

/** The worst of many errors, each in units of its tolerance. */
class Worst {
  private found: { readonly error: number; readonly tolerance: number; readonly tensor: string } | undefined;

  add(tensor: string, error: number, tolerance: number): void {
    const sane = Number.isNaN(error) ? Infinity : error;
    if (!this.found || sane / tolerance > this.found.error / this.found.tolerance) this.found = { error: sane, tolerance, tensor };
  }

  report({ rows, name }: Trace, quantity: string, measure: Measure = "relative L2"): void {
    if (!this.found) return rows.failed(name, quantity, "there is nothing to compare");
    const { error, tolerance, tensor } = this.found;
    rows.error(name, quantity, error, tolerance, measure, `worst: ${tensor}`);
  }
}

/** Whether the method selects exactly these tensors, in this order. */
export function checkTrained({ rows, name, golden }: Trace, field: string, actual: readonly string[], all?: readonly string[]): void {
  const expected = golden.texts(field);
  const wrong = Math.max(actual.length, expected.length) - expected.filter((tensor, i) => actual[i] === tensor).length;
  const first = expected.findIndex((tensor, i) => actual[i] !== tensor);
  const at = first < 0 ? actual.length : first;
  rows.error(
    name, field, wrong, 0, "mismatches",
    wrong === 0 ? undefined : `number ${at} is ${actual[at] ?? "none"}, should be ${expected[at] ?? "none"}`,
  );
  const others = golden.json["not_trained"];
  if (others === undefined || !all) return;
  const rest = all.filter((tensor) => !actual.includes(tensor));
  const count = typeof others === "string" ? Number(/\d+/.exec(others)?.[0]) : NaN;
  const different = Array.isArray(others) ? mismatchOfLists(rest, others as string[]) : Math.abs(rest.length - count);
  rows.error(name, "not_trained", different, 0, "mismatches", different === 0 ? undefined : `${rest.length} are not trained`);
}

function mismatchOfLists(a: readonly string[], b: readonly string[]): number {
  return a.filter((x) => !b.includes(x)).length + b.filter((x) => !a.includes(x)).length;
}

/** How a tensor's probes are judged: by its own size or, of a gradient that is mathematically zero, by the norm alone. */
export type ProbeRule = (tensor: string) => { readonly tolerance: number; readonly zero?: boolean; readonly skipped?: boolean };

/** Compares norms and dot products of tensors with a trace's. One row has the worst of them, another the worst of what should be zero. */
export async function compareProbes(
  trace: Trace,
  label: string,
  tensors: readonly string[],
  { norms, dots }: { readonly norms: Float32Array; readonly dots: Float32Array },
  values: (tensor: string) => ArrayLike<number> | Promise<ArrayLike<number>>,
  rule: ProbeRule,
): Promise<void> {
  const [worst, zeros] = [new Worst(), new Worst()];
  let zeroCount = 0;
  for (const [i, tensor] of tensors.entries()) {
    const { tolerance, zero = false, skipped = false } = rule(tensor);
    if (skipped) continue;
    const { norm, dot } = probe(tensor, await values(tensor));
    const size = norms[i]!;
    if (zero) {
      zeroCount++;
      zeros.add(tensor, Math.max(norm, size), trace.zeroTolerance);
    } else worst.add(tensor, (size > 0 ? 1 / size : 1) * Math.max(Math.abs(norm - size), Math.abs(dot - dots[i]!)), tolerance);
  }
  worst.report(trace, label);
  if (zeroCount > 0) zeros.report(trace, `${label} of mathematically zero gradients`, "absolute");
}

/** Checks what updates make of gradients and weights, against the probes of a trace. */
export class UpdateChecks {
  private readonly trained: readonly string[];
  private readonly zero: ReadonlySet<string>;
  private readonly loose: Readonly<Record<string, unknown>>;
  private readonly whole: Readonly<Record<string, unknown>>;

  /**
   * @param before the weights before training
   * @param named gives a training's tensors the names of the trace
   */
  constructor(
    private readonly trace: Trace,
    private readonly before: Named,
    private readonly named: (components: Components) => Named,
  ) {
    const { golden } = trace;
    this.trained = golden.texts("trained");
    this.zero = new Set(golden.texts("zero_grad"));
    this.loose = golden.object("loose_delta");
    const whole = golden.json["whole"];
    this.whole = isObject(whole) ? whole : {};
  }

  /** After update number `step`, from 0. */
  async check(trainer: Trainer, step: number): Promise<void> {
    const { trace } = this;
    const components = await trainer.weights();
    const [gradients, weights] = [this.named(await trainer.gradients()), this.named(components)];
    const gradient = (tensor: string): ArrayLike<number> =>
      gradients.get(tensor)?.data ?? new Float32Array(this.before.get(tensor)?.data.length ?? 0);
    const tolerance = trace.toleranceOf(step === 0 ? "grad_first_step" : "grad");
    await this.probes("grad", step, gradient, (tensor) => ({ tolerance, zero: this.zero.has(tensor) }));
    await this.deltas("delta", step, components);
    await this.wholes(step, gradient, weights);
  }

  /** Changes of weights, or of averages of them, by `<quantity>_norm` and `<quantity>_dot`. */
  async deltas(quantity: string, step: number, components: Components): Promise<void> {
    const now = this.named(components);
    const change = (tensor: string): Float64Array => {
      const before = this.before.get(tensor)!.data;
      return Float64Array.from(now.get(tensor)?.data ?? [], (x, i) => x - before[i]!);
    };
    const tolerance = this.trace.toleranceOf(quantity);
    await this.probes(quantity, step, change, (tensor) => {
      const loose = this.loose[tensor];
      return { tolerance: typeof loose === "number" ? Math.max(tolerance, 10 * loose) : tolerance, skipped: this.zero.has(tensor) };
    });
  }

  private async probes(quantity: string, step: number, values: (tensor: string) => ArrayLike<number>, rule: ProbeRule): Promise<void> {
    const { trace, trained } = this;
    const recorded = async (what: string): Promise<Float32Array> => part(await trace.golden.array(`${quantity}_${what}`), step).data;
    const wanted = { norms: await recorded("norm"), dots: await recorded("dot") };
    await compareProbes(trace, `${quantity}[${step}]`, trained, wanted, values, rule);
  }

  /** Tensors that are there whole. */
  private async wholes(step: number, gradient: (tensor: string) => ArrayLike<number>, weights: Named): Promise<void> {
    const { trace: { golden, rows, name }, trace } = this;
    for (const [tensor, steps] of Object.entries(this.whole)) {
      const at = Array.isArray(steps) ? steps.indexOf(step) : -1;
      if (at < 0) continue;
      if (this.zero.has(tensor)) {
        const { data } = part(await golden.array(`grad.${tensor}`), at);
        rows.compare(name, `grad.${tensor}[${at}]`, gradient(tensor), data, trace.zeroTolerance, "absolute");
        continue; // Adam makes of rounding what it likes
      }
      await trace.compareRow(`grad.${tensor}`, at, gradient(tensor), "grad_whole");
      await trace.compareRow(`weight.${tensor}`, at, weights.get(tensor) ?? [], "weight_whole");
    }
  }
}
