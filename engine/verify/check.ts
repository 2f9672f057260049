import type { NDArray } from "../nn/array.ts";
import type { VerifyContext } from "./context.ts";
import type { Case, Golden } from "./golden.ts";
import { type Measure, type Numbers, type Rows, type Tolerances, relativeL2 } from "./rows.ts";

/** Which tensor of the reference a row is of, and how they are compared. */
export interface Comparison {
  /** Default: `CASE.TENSOR`. */
  readonly key?: string;
  /** Default: relative L2, of whole numbers how many differ. */
  readonly measure?: Measure;
  /** No row where the reference has no such tensor. */
  readonly optional?: boolean;
}

/** One reference under check: what it holds, the rows that come of it, and what all references share. */
export class Check {
  constructor(readonly golden: Golden, readonly rows: Rows, readonly context: VerifyContext) {}

  /** Those of the precision that the device computes with. */
  get tolerances(): Tolerances {
    return this.rows.tolerances;
  }

  /**
   * Compares with a tensor of the reference and adds the row.
   * @param tolerance default: a model's, of whole numbers 0 @throws FormatError if there is no such tensor
   */
  async compare(name: string, tensor: string, actual: Numbers | NDArray, tolerance?: number, how: Comparison = {}): Promise<void> {
    const { golden, rows } = this;
    const { key = `${name}.${tensor}`, optional } = how;
    if (optional && !golden.has(key)) return;
    const whole = golden.has(key) && !golden.dtype(key).includes("F");
    const expected = whole ? await golden.ints(key) : await golden.floats(key);
    const { measure = whole ? "mismatches" : "relative L2" } = how;
    const numbers = "shape" in actual ? actual.data : actual;
    rows.compare(name, tensor, numbers, expected, tolerance ?? (whole ? 0 : rows.tolerances.model), measure);
  }

  /** Compares each step with its own part of a tensor [steps, ...]; the row holds the worst. */
  async compareSteps(name: string, tensor: string, steps: readonly NDArray[], tolerance: number, key = `${name}.${tensor}`): Promise<void> {
    const expected = await this.golden.floats(key);
    const size = expected.length / Math.max(1, steps.length);
    const fits = steps.every((s) => s.data.length === size);
    const errors = steps.map((s, i) => relativeL2(s.data, expected.subarray(i * size, (i + 1) * size)));
    const note = fits ? undefined : "another number of steps";
    this.rows.error(name, tensor, fits ? Math.max(...errors) : Infinity, tolerance, "relative L2", note);
  }

  /** Checks the reference's cases one by one; what one throws becomes a failed row of its tensor. */
  async cases(tensor: string, check: (c: Case) => Promise<void> | void): Promise<void> {
    for (const c of this.golden.cases) await this.rows.guard(c.name, tensor, () => check(c));
  }
}

/** Checks one reference file and adds its rows. */
export type Form = (check: Check) => Promise<void>;
