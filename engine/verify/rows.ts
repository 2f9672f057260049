import { DeviceLostError, NoAdapterError, errorMessage } from "../runtime/errors.ts";
import { relativeError } from "../runtime/relative-error.ts";

/** How far apart two tensors may be, and by which measure. */
export type Measure =
  /** ||a - b|| / ||b|| */
  | "relative L2"
  /** Largest |a - b|. */
  | "absolute"
  /** How many elements differ at all. */
  | "mismatches"
  /** Largest difference of 8-bit levels; over tolerance also where more than a share of the values differ. */
  | "levels";

/** One check. Field names are part of the command line's contract. */
export interface Row {
  readonly file: string;
  readonly case: string;
  readonly tensor: string;
  /** null where nothing could be computed; `note` says why. */
  readonly error: number | null;
  readonly tolerance: number;
  readonly ok: boolean;
  readonly measure: Measure;
  readonly note?: string;
}

export type Numbers = ArrayLike<number>;

/** Relative L2 unless said otherwise. */
export interface Tolerances {
  readonly opForward: number;
  readonly opGradient: number;
  readonly model: number;
  readonly embeddingGradient: number;
  /** What hangs on the signs of differences: the gradient of an L1 loss, and all that Adam makes of a gradient. */
  readonly signs: number;
  readonly sample: number;
  /** Safe Latent Diffusion's threshold switches elements on rounding: a sample's sensitivity times this factor, but no more than this. */
  readonly safeSample: number;
  readonly sensitivityFactor: number;
  /** Absolute, for tensors that are mathematically zero. */
  readonly zero: number;
  /** The same behind attention: the gradient of a bias of its keys, whose parts cancel but for their rounding. */
  readonly attentionZero: number;
  /** Absolute, for sines of phases up to 999 rad. */
  readonly timestepEmbedding: number;
  /** Two values to a group: the gradient nearly cancels. */
  readonly onePixelNorm: number;
  /** 8-bit pictures: at most so many levels apart ... */
  readonly levels: number;
  /** ... on this share of the values; also the share of those that may differ at all. */
  readonly levelShare: number;
}

/** Of the project for float32. */
export const TOLERANCES: Tolerances = {
  opForward: 1e-5,
  opGradient: 1e-4,
  model: 1e-4,
  embeddingGradient: 1e-3,
  signs: 1e-3,
  sample: 1e-3,
  safeSample: 2e-2,
  sensitivityFactor: 10,
  zero: 1e-5,
  attentionZero: 1e-5,
  timestepEmbedding: 1e-4,
  onePixelNorm: 1e-2,
  levels: 1,
  levelShare: 0.01,
};

/**
 * With operands of matrix products rounded to f16, about four times the worst that was measured on the bundled model, a tiny random one and
 * single ops: 3.7e-4 (op), 1.1e-3 (its gradient), 1.3e-3 (model), 6.1e-3 (gradient), 9.6e-2 (signs), 2.3e-3 (sample),
 * 5.2e-2 (SLD), 1 level on 42 % (picture), 3.2e-3 (what is zero behind attention).
 */
export const HALF_TOLERANCES: Tolerances = {
  ...TOLERANCES,
  opForward: 1.5e-3,
  opGradient: 5e-3,
  model: 5e-3,
  embeddingGradient: 2e-2,
  attentionZero: 1.3e-2,
  signs: 0.3,
  sample: 1e-2,
  safeSample: 0.2,
  sensitivityFactor: 3000,
  levels: 4,
  levelShare: 0.6,
};

/**
 * What a reference is judged by. Rounding a model's weights to f16 is a part of what rounding all operands does, and is judged by the same
 * numbers: measured with f32 operands were at most 1.9e-3 (model, at full size), 4.9e-3 (gradient), 0.14 (signs) and 4.8e-2 (SLD).
 * @param halfPrecision operands of products are rounded
 * @param halfWeights a model whose weights were rounded takes part
 */
export function tolerancesOf({
  halfPrecision,
  halfWeights,
}: {
  readonly halfPrecision: boolean;
  readonly halfWeights: boolean;
}): Tolerances {
  return halfPrecision || halfWeights ? HALF_TOLERANCES : TOLERANCES;
}

/** ||a - b|| / ||b||; the norm of a where b is all zero; Infinity for different lengths or values that are not finite. */
export function relativeL2(a: Numbers, b: Numbers): number {
  return a.length === b.length ? relativeError(a, b) : Infinity;
}

/** Largest |a - b|; Infinity for different lengths or values that are not numbers. */
export function largestDifference(a: Numbers, b: Numbers): number {
  if (a.length !== b.length) return Infinity;
  let largest = 0;
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    if (!(d <= largest)) largest = Number.isNaN(d) ? Infinity : d;
  }
  return largest;
}

/** Number of elements that are not the same number; Infinity for different lengths. */
export function mismatches(a: Numbers, b: Numbers): number {
  if (a.length !== b.length) return Infinity;
  let n = 0;
  for (let i = 0; i < b.length; i++) if (!Object.is(a[i], b[i]) && a[i] !== b[i]) n++;
  return n;
}

const MEASURES: Readonly<Record<Measure, (a: Numbers, b: Numbers) => number>> = {
  "relative L2": relativeL2,
  absolute: largestDifference,
  mismatches,
  levels: largestDifference,
};

/** Whether an error says nothing of the reference: there is no device (any more). */
export function endsRun(error: unknown): boolean {
  return error instanceof DeviceLostError || error instanceof NoAdapterError;
}

/** Collects the rows of one golden file. */
export class Rows {
  readonly list: Row[] = [];
  /** A check threw, so that others may not have been reached. */
  broken = false;

  constructor(
    private readonly file: string,
    private readonly onRow: (row: Row) => void = () => undefined,
    private readonly tolerancesNow: () => Tolerances = () => TOLERANCES,
  ) {}

  /** Those of the precision that the device computes with. */
  get tolerances(): Tolerances {
    return this.tolerancesNow();
  }

  /** Compares and adds a row. */
  compare(name: string, tensor: string, actual: Numbers, expected: Numbers, tolerance: number, measure: Measure = "relative L2"): void {
    const note = actual.length === expected.length ? undefined : `${actual.length} elements computed, ${expected.length} expected`;
    const error = MEASURES[measure](actual, expected);
    if (measure !== "levels" || error > tolerance) return this.error(name, tensor, error, tolerance, measure, note);
    const share = mismatches(actual, expected) / Math.max(1, expected.length);
    if (share <= this.tolerances.levelShare) return this.error(name, tensor, error, tolerance, measure);
    this.failed(
      name,
      tensor,
      `${(100 * share).toFixed(1)} % of the values are a level off, at most ${100 * this.tolerances.levelShare} % may be`,
      error,
      tolerance,
      measure,
    );
  }

  /** Adds a row with an error found elsewhere. */
  error(name: string, tensor: string, error: number, tolerance: number, measure: Measure = "relative L2", note?: string): void {
    this.add({
      file: this.file,
      case: name,
      tensor,
      error: Number.isFinite(error) ? error : null,
      tolerance,
      ok: error <= tolerance,
      measure,
      ...(note !== undefined && { note }),
    });
  }

  /** Adds a row for something that could not be checked or is wrong in a way no number says. */
  failed(name: string, tensor: string, note: string, error: number | null = null, tolerance = 0, measure: Measure = "relative L2"): void {
    this.add({ file: this.file, case: name, tensor, error, tolerance, ok: false, measure, note });
  }

  /**
   * Runs the checks of one case; whatever they throw becomes a failed row, unless there is no device to go on with.
   * @throws DeviceLostError, NoAdapterError
   */
  async guard(name: string, tensor: string, checks: () => Promise<void> | void): Promise<void> {
    try {
      await checks();
    } catch (error) {
      if (endsRun(error)) throw error;
      this.broken = true;
      this.failed(name, tensor, errorMessage(error));
    }
  }

  private add(row: Row): void {
    this.list.push(row);
    this.onRow(row);
  }
}
