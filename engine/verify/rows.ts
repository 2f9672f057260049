import { DeviceLostError, NoAdapterError, errorMessage } from "../runtime/errors.ts";

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

/** Tolerances of the project for float32, relative L2 unless said otherwise. */
export const TOLERANCES = {
  opForward: 1e-5,
  opGradient: 1e-4,
  model: 1e-4,
  embeddingGradient: 1e-3,
  sample: 1e-3,
  /** Absolute, for tensors that are mathematically zero. */
  zero: 1e-5,
  /** Absolute, for sines of phases up to 999 rad. */
  timestepEmbedding: 1e-4,
  /** Two values to a group: the gradient nearly cancels. */
  onePixelNorm: 1e-2,
  /** 8-bit pictures: at most one level apart ... */
  levels: 1,
  /** ... on few values. */
  levelShare: 0.01,
} as const;

/** ||a - b|| / ||b||; the norm of a where b is all zero; Infinity for different lengths or values that are not finite. */
export function relativeL2(a: Numbers, b: Numbers): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
  return Number.isFinite(error) ? error : Infinity;
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

const MEASURES: Readonly<Record<Measure, (a: Numbers, b: Numbers) => number>> = { "relative L2": relativeL2, absolute: largestDifference, mismatches, levels: largestDifference };

/** Whether an error says nothing of the reference: there is no device (any more). */
export function endsRun(error: unknown): boolean {
  return error instanceof DeviceLostError || error instanceof NoAdapterError;
}

/** Collects the rows of one golden file. */
export class Rows {
  readonly list: Row[] = [];
  /** A check threw, so that others may not have been reached. */
  broken = false;

  constructor(private readonly file: string, private readonly onRow: (row: Row) => void = () => undefined) {}

  /** Compares and adds a row. */
  compare(name: string, tensor: string, actual: Numbers, expected: Numbers, tolerance: number, measure: Measure = "relative L2"): void {
    const note = actual.length === expected.length ? undefined : `${actual.length} elements computed, ${expected.length} expected`;
    const error = MEASURES[measure](actual, expected);
    if (measure !== "levels" || error > tolerance) return this.error(name, tensor, error, tolerance, measure, note);
    const share = mismatches(actual, expected) / Math.max(1, expected.length);
    if (share <= TOLERANCES.levelShare) return this.error(name, tensor, error, tolerance, measure);
    this.failed(name, tensor, `${(100 * share).toFixed(1)} % of the values are a level off, at most ${100 * TOLERANCES.levelShare} % may be`, error, tolerance, measure);
  }

  /** Adds a row with an error found elsewhere. */
  error(name: string, tensor: string, error: number, tolerance: number, measure: Measure = "relative L2", note?: string): void {
    this.add({ file: this.file, case: name, tensor, error: Number.isFinite(error) ? error : null, tolerance, ok: error <= tolerance, measure, ...(note !== undefined && { note }) });
  }

  /** Adds a row for something that could not be checked or is wrong in a way no number says. */
  failed(name: string, tensor: string, note: string, error: number | null = null, tolerance = 0, measure: Measure = "relative L2"): void {
    this.add({ file: this.file, case: name, tensor, error, tolerance, ok: false, measure, note });
  }

  /** Runs the checks of one case; whatever they throw becomes a failed row, unless there is no device to go on with. @throws DeviceLostError, NoAdapterError */
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
