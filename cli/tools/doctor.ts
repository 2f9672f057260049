import type { Command } from "commander";
import { KERNELS } from "../../kernels/index.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type KernelChoice, describeChoice, type ProbeRow } from "../../engine/runtime/choice/kernel-table.ts";
import { matrixName } from "../../engine/runtime/subgroups/matrix-units.ts";
import { type SelfTestRow, selfTest } from "../../engine/verify/self-test/index.ts";
import { type Context, action } from "../context.ts";
import { EXIT } from "../errors.ts";
import { SHOWN_LIMITS, formatBytes } from "../../engine/run/text/format.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";
import { VERSION } from "../../engine/run/version.ts";
import { webgpuVersion } from "./webgpu-version.ts";

export function doctorCommand(program: Command): void {
  program
    .command("doctor")
    .description(
      "show the adapter, its limits and features, and test every kernel on it against plain CPU references; with --kernels tune also " +
        "measure the variants of kernels and remember the best",
    )
    .action(action((_options, context) => run(context)));
}

async function run(context: Context): Promise<number> {
  const device = await context.device();
  const about = describe(device);
  const { kernels } = device;
  const rows = await context.withProgress("self-test", (progress) =>
    selfTest(device, (row, done, total) => progress.update(done / total, row.name)),
  );
  const failed = rows.filter((r) => !r.ok);
  const covered = new Set(rows.flatMap((r) => r.kernels));
  const computing = KERNELS.filter((k) => k.layout !== "view"); // a view runs nothing
  const untested = computing.map((k) => k.name).filter((name) => !covered.has(name));
  const ok = failed.length === 0 && untested.length === 0;
  const lines = [
    ...Object.entries(about.facts).map(([name, value]) => `${name.padEnd(10)} ${value}`),
    "limits",
    ...SHOWN_LIMITS.map((name) => `  ${name} ${about.limits[name]}`),
    "",
    ...(kernels.rows.length > 0 ? [`variants of kernels, measured ${kernels.measured} (ms; * chosen)`, kernelTable(kernels), ""] : []),
    checkTable(rows),
    "",
    `${rows.length - failed.length} of ${rows.length} checks passed, ${computing.length - untested.length} of ${computing.length} kernels`,
    ...(untested.length > 0 ? [`not tested: ${untested.join(", ")}`] : []),
  ];
  context.result({ ok, ...about, kernels, selfTest: rows, untested, peakBytes: device.usage.peakBytes }, lines.join("\n"));
  return ok ? EXIT.done : EXIT.failed;
}

interface About {
  readonly facts: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<(typeof SHOWN_LIMITS)[number], number>>;
  readonly features: readonly string[];
}

function describe(device: Device): About {
  const { info, capabilities, limits } = device;
  const sizes =
    info.subgroupMinSize === info.subgroupMaxSize ? String(info.subgroupMinSize) : `${info.subgroupMinSize} to ${info.subgroupMaxSize}`;
  return {
    facts: {
      adapter: device.description,
      driver: info.description,
      vendor: [info.vendor, info.architecture, info.device].filter(Boolean).join(" "),
      kind: info.software ? "software (runs on the CPU)" : "hardware",
      accesses: info.robust ? "clamped to their buffers (--robust, or a browser)" : "not clamped",
      subgroups: device.features.includes("subgroups")
        ? `${sizes} lanes${capabilities.subgroupSize ? "" : " (not fixed: shaders do not rely on it)"}`
        : "none",
      ...(info.matrices.length > 0 && { matrices: describeMatrices(device) }),
      features: device.features.join(", ") || "none",
      kernels: describeChoice(device.kernels),
      memory: `buffers to ${formatBytes(limits.maxBufferSize)}, bindings to ${formatBytes(limits.maxStorageBufferBindingSize)}`,
      versions: `lethe ${VERSION}, webgpu ${webgpuVersion()}, Node ${process.versions.node}, ${process.platform} ${process.arch}`,
    },
    limits: Object.fromEntries(SHOWN_LIMITS.map((name) => [name, limits[name]])) as About["limits"],
    features: device.features,
  };
}

/** `f16 8 x 8 x 8 (error 0); subgroups of 8, dialect Dawn`; what is wrong, too. */
function describeMatrices({ info, capabilities: { matrixUnits }, matrixChecks }: Device): string {
  const checked = matrixChecks.map(({ config, error, problem }) => `${matrixName(config)} (${problem ?? `error ${exponential(error)}`})`);
  const rest = info.matrices.filter((c) => !matrixChecks.some(({ config }) => matrixName(config) === matrixName(c)));
  return [
    ...checked,
    ...rest.map((c) => `${matrixName(c)} (needs --math f16 or auto)`),
    ...(matrixUnits ? [`in subgroups of ${matrixUnits.lanes}, dialect "${matrixUnits.dialect.name}"`] : []),
  ].join(", ");
}

/** Classes down, candidates across, with what each took and its largest error; below it what is wrong with any of them. */
function kernelTable({ rows, table, attention, subgroupRows }: KernelChoice): string {
  const chosenFor: Readonly<Record<string, string>> = { ...table, ...attention, rows: subgroupRows ? "subgroup" : "workgroup" };
  const chosen = (row: ProbeRow): boolean => chosenFor[row.class] === row.candidate;
  const candidates = [...new Set(rows.map((r) => r.candidate))];
  const cell = (row: ProbeRow | undefined): string =>
    !row ? "" : row.milliseconds === null ? "unusable" : `${row.milliseconds.toPrecision(3)}${chosen(row) ? "*" : ""}`;
  const lines = [...new Set(rows.map((r) => r.class))].map((name) => [
    name,
    ...candidates.map((c) => cell(rows.find((r) => r.class === name && r.candidate === c))),
  ]);
  const errors = candidates.map((name) => Math.max(...rows.flatMap((r) => (r.candidate === name && r.error !== null ? [r.error] : []))));
  lines.push(["largest error", ...errors.map((e) => exponential(Number.isFinite(e) ? e : null))]);
  const problems = rows.flatMap((r) => (r.problem === null ? [] : [`${r.candidate} for ${r.class} ${r.problem}`]));
  return [terminalTable([{ title: "" }, ...candidates.map((title) => ({ title, right: true }))], lines), ...problems].join("\n");
}

function exponential(x: number | null): string {
  return x === null ? "-" : x === 0 ? "0" : x.toExponential(1);
}

function checkTable(rows: readonly SelfTestRow[]): string {
  return terminalTable(
    columnsOf(["check", "", "error", "tolerance", "ms", ""], [2, 3, 4]),
    rows.map((r) => [r.name, r.ok ? "ok" : "FAILED", exponential(r.error), exponential(r.tolerance), r.milliseconds.toFixed(1), r.note]),
  );
}
