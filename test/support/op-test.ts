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
export async function checkOp(spec: OpSpec, device?: Device): Promise<void> {
  complain(spec, await runOpSpec(device ?? (await testDevice()), spec));
}

/** As `checkOp`, with matrix products computed as the table says. */
export async function checkVariant(device: Device, spec: OpSpec, gemm: GemmTable): Promise<void> {
  complain(spec, await runOpSpec(device, { ...spec, build: (g, v) => spec.build(planningFor(g, { gemm }), v) }));
}

function complain(spec: OpSpec, { comparisons }: OpResult): void {
  const bad = comparisons.find((c) => !(c.error <= c.tolerance));
  if (bad) {
    throw new Error(`${spec.name}: ${bad.tensor} is off by ${bad.error.toExponential(2)} (tolerance ${bad.tolerance}); ${bad.worst}`);
  }
}
