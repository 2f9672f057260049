import { type Peak, rates } from "../../bench/rates.ts";
import type { ProfiledKernel } from "../../engine/runtime/profile/profile.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

/**
 * Kernels by the time they took in all programs together, slowest first, with their share and rates.
 * @param peak the adapter's, for a column with the share of the roofline: above 100% where data stays in a cache
 */
export function profileTable(kernels: readonly ProfiledKernel[], peak?: Peak): string {
  const total = kernels.reduce((sum, k) => sum + k.milliseconds, 0);
  const percent = (x: number): string => `${(100 * x).toFixed(1)}%`;
  const titles = ["kernel", "dispatches", "ms", "share", "GFLOP/s", "GB/s", ...(peak ? ["of roof"] : [])];
  const cells = (k: ProfiledKernel): string[] => {
    const rate = (amount: number): string => (amount > 0 && k.milliseconds > 0 ? (amount / 1e6 / k.milliseconds).toFixed(1) : "-");
    const roof = peak ? [k.milliseconds > 0 ? percent(rates(k, k.milliseconds, peak).shareOfRoofline) : "-"] : [];
    return [
      k.kernel,
      String(k.count),
      k.milliseconds.toFixed(2),
      percent(k.milliseconds / Math.max(total, 1e-9)),
      rate(k.flops),
      rate(k.bytes),
      ...roof,
    ];
  };
  return terminalTable(columnsOf(titles, [1, 2, 3, 4, 5, 6]), kernels.map(cells));
}
