/** Plain text for terminals. */

export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Rows in aligned columns under their titles; no trailing blanks. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((c, i) => Math.max(c.title.length, ...rows.map((r) => (r[i] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (columns[i]?.right ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  return [line(columns.map((c) => c.title)), ...rows.map(line)].join("\n");
}

export { formatBytes } from "../../runtime/plan/estimate.ts";

function pair(n: number): string {
  return String(n).padStart(2, "0");
}

/** 1:02:03, 4:05 or 0:06. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${pair(minutes)}:${pair(whole % 60)}` : `${minutes}:${pair(whole % 60)}`;
}

/** Text on one line with characters that do not print shown as \u0007, quoted: what a terminal or a log can safely show. */
export function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&").replace(/[\p{C}\p{Zl}\p{Zp}\ufffd]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`)}"`;
}

/** 1,234,567. */
export function formatCount(n: number): string {
  return n.toLocaleString("en-US");
}

/** The limits of a device that decide what fits it, as doctor and the page show them. */
export const SHOWN_LIMITS = [
  "maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupsPerDimension",
] as const;
