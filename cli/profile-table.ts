import type { ProfiledKernel } from "../engine/runtime/profile.ts";
import { formatTable } from "./table.ts";

/** Kernels by the time they took in all programs together, slowest first, with their share and rates. */
export function profileTable(kernels: readonly ProfiledKernel[]): string {
  const total = kernels.reduce((sum, k) => sum + k.milliseconds, 0);
  const columns = [{ title: "kernel" }, ...["dispatches", "ms", "share", "GFLOP/s", "GB/s"].map((title) => ({ title, right: true }))];
  const rate = (amount: number, ms: number): string => (amount > 0 && ms > 0 ? (amount / 1e6 / ms).toFixed(1) : "-");
  return formatTable(columns, kernels.map((k) => [k.kernel, String(k.count), k.milliseconds.toFixed(2), `${((100 * k.milliseconds) / Math.max(total, 1e-9)).toFixed(1)}%`, rate(k.flops, k.milliseconds), rate(k.bytes, k.milliseconds)]));
}
