import { appendFileSync } from "node:fs";
import type { GemmTable } from "../../kernels/gemm-table.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import { type OpResult, type OpSpec, runOpSpec } from "../../engine/verify/self-test/op-check.ts";
import { testDevice } from "./device.ts";

export type { Array64 } from "../../engine/verify/self-test/array64.ts";
export { relativeError } from "../../engine/runtime/relative-error.ts";
export { type OpInput, type OpSpec, normals } from "../../engine/verify/self-test/op-check.ts";

/**
 * Runs an op on a device (the test device, unless given) with poisoned memory and compares its outputs with the reference (relative L2,
 * 1e-5) and its gradients with central differences of the reference (1e-4).
 * @throws Error saying which tensor, the error and the tolerance.
 */
export async function checkOp(spec: OpSpec, device?: Device, variant = ""): Promise<void> {
  const used = device ?? (await testDevice());
  complain(spec, await runOpSpec(used, spec), used, variant);
}

/** As `checkOp`, with matrix products computed as the table says. @param variant its name, for the record; default: the table's */
export async function checkVariant(device: Device, spec: OpSpec, gemm: GemmTable, variant: string = gemm["matmul small"]): Promise<void> {
  const planned: OpSpec = { ...spec, build: (g, v) => spec.build(planningFor(g, { gemm }), v) };
  complain(spec, await runOpSpec(device, planned), device, variant);
}

/** With LETHE_ERRORS=FILE every error goes there, a line each: `scripts/variant-table.mjs` makes the table of bench/README of it. */
function complain(spec: OpSpec, { comparisons }: OpResult, device: Device, variant: string): void {
  if (process.env.LETHE_ERRORS && variant !== "") {
    const about = { adapter: device.info.description, variant, op: spec.name };
    const rows = comparisons.map(({ tensor, error, tolerance }) => ({ ...about, tensor, error, tolerance }));
    appendFileSync(process.env.LETHE_ERRORS, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
  const bad = comparisons.find((c) => !(c.error <= c.tolerance));
  if (bad) {
    throw new Error(`${spec.name}: ${bad.tensor} is off by ${bad.error.toExponential(2)} (tolerance ${bad.tolerance}); ${bad.worst}`);
  }
}
