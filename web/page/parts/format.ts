/** Numbers as the page shows them. */
export { formatBytes, formatDuration } from "../../../engine/run/text/format.ts";

/** 1.2e-7, or a plain number where that is shorter. */
export function errorText(value: number | null): string {
  if (value === null) return "-";
  return Number.isInteger(value) ? String(value) : value.toExponential(1);
}
