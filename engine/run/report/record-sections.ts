/** What the report of any run says of its record: when it was made, where it was computed, what it took, and of which files. */
import type { AnyRunRecord } from "../record.ts";
import { formatBytes, formatDuration } from "../text/format.ts";
import { shownPath } from "../text/local-paths.ts";
import { definitions, escape, section, table, visible } from "./html.ts";

/** The head of a report. @param question what the report answers */
export function reportHeader(question: string, { started }: AnyRunRecord): string {
  return `<header>
<p class="brand">Lethe <span>${question}</span></p>
<p class="when">${escape(started.replace("T", " ").replace(/\.\d+Z$/, " UTC"))}</p>
</header>`;
}

/** The device and what the run took. @param whole with what decides the last bits: limits, kernels, how memory is shared and accessed */
export function deviceSection({ device, versions, ...record }: AnyRunRecord, whole: boolean): string {
  const of = (...pairs: readonly [string, string][]): readonly [string, string][] => (whole ? pairs : []);
  const { lethe, node, platform } = versions;
  return section("device", "Device and run", definitions([
    ["adapter", visible(device.adapter)],
    ["driver", visible(device.driver)],
    ...of(["limits", escape(device.limits === "default" ? "WebGPU's default limits" : "all the adapter offers")]),
    ["weights, arithmetic", escape(`${device.weights}, ${device.math}`)],
    ...of(
      ["kernels", visible(device.kernels ?? "not recorded")],
      ["buffer sharing", device.bufferSharing ? "on" : "off"],
      ["accesses of shaders", device.robust === false ? "not clamped" : "clamped"],
    ),
    ["peak device memory", escape(`${formatBytes(record.peakBytes)} (${record.peakBytes} bytes)`)],
    ["time", escape(formatDuration(record.seconds))],
    ["started, ended", escape(`${record.started}, ${record.ended ?? ""}`)],
    ["versions", escape([`lethe ${lethe}`, ...(node === undefined ? [] : [`Node ${node}`]), platform].join(", "))],
  ]));
}

/** What the run read, to the byte. */
export function filesSection({ files }: AnyRunRecord): string {
  const rows = files.map((f) => [
    escape(f.role), visible(shownPath(f.path)), formatBytes(f.bytes), `<code class="hash">${escape(f.sha256)}</code>`,
  ]);
  return section("files", "Files", table("Files", ["part", "file", "size", "SHA-256"], rows));
}
