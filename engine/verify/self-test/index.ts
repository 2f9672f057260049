import { errorMessage } from "../../runtime/errors.ts";
import type { Device } from "../../runtime/device.ts";
import { type OpResult, runOpSpec, withHalfTensors } from "./op-check.ts";
import { LAYER_SPECS } from "./specs-layers.ts";
import { NUMBER_SPECS } from "./specs-numbers.ts";
import { TRAINING_SPECS } from "./specs-training.ts";

/** Small checks that together run every kernel, forward and gradient. */
export const SELF_TESTS = [...LAYER_SPECS, ...NUMBER_SPECS, ...TRAINING_SPECS];

export interface SelfTestRow {
  readonly name: string;
  /** Kernels that ran. */
  readonly kernels: readonly string[];
  readonly ok: boolean;
  /** The largest error relative to its tolerance: relative L2; null if it did not run. */
  readonly error: number | null;
  readonly tolerance: number | null;
  /** Of the device's run, compilation not included. */
  readonly milliseconds: number;
  /** What is wrong. */
  readonly note: string;
}

/**
 * Runs every self-test on the device, once more with its tensors stored as f16 where the device stores them so. A failing one is a row, not
 * an exception. @param onRow called after each
 */
export async function selfTest(
  device: Device,
  onRow: (row: SelfTestRow, done: number, total: number) => void = () => undefined,
): Promise<SelfTestRow[]> {
  const rows: SelfTestRow[] = [];
  const halves = device.halfPrecision ? SELF_TESTS.flatMap((spec) => withHalfTensors(spec, device) ?? []) : [];
  const specs = [...SELF_TESTS, ...halves];
  for (const spec of specs) {
    let row: SelfTestRow;
    try {
      row = rowOf(spec.name, await runOpSpec(device, spec));
    } catch (error) {
      device.check(); // a lost device ends the self-test
      row = { name: spec.name, kernels: [], ok: false, error: null, tolerance: null, milliseconds: 0, note: errorMessage(error) };
    }
    rows.push(row);
    onRow(row, rows.length, specs.length);
  }
  return rows;
}

function rowOf(name: string, { comparisons, kernels, milliseconds }: OpResult): SelfTestRow {
  const worst = comparisons.reduce((a, b) => (b.error / b.tolerance > a.error / a.tolerance ? b : a));
  const bad = comparisons.filter((c) => !(c.error <= c.tolerance));
  return {
    name,
    kernels: [...kernels],
    ok: bad.length === 0,
    error: worst.error,
    tolerance: worst.tolerance,
    milliseconds,
    note: bad.map((c) => `${c.tensor}: ${c.worst}`).join("; "),
  };
}
