import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as cache from "../../../engine/platform/cache-node.ts";
import { openDevice } from "../../../engine/platform/open-device.ts";
import { NoAdapterError, UsageError } from "../../../engine/runtime/errors.ts";
import { cacheKey, chooseKernels, parseChoice } from "../../../engine/runtime/choice/kernel-choice.ts";
import { describeChoice, shippedChoice, type ProbeRow } from "../../../engine/runtime/choice/kernel-table.ts";
import { type Candidate, KernelProbe, type ProbeClass, winners } from "../../../engine/runtime/choice/kernel-probe.ts";
import { GEMM_CLASSES } from "../../../kernels/gemm-table.ts";
import { uniformTable } from "../../../kernels/gemm-table.ts";
import { uniformAttention } from "../../../kernels/attention-table.ts";
import { type Dispatch, f32 } from "../../../kernels/kernel.ts";
import { matmul } from "../../../kernels/matmul.ts";
import { withDispatches } from "../../support/planning.ts";
import { finish, testDevice } from "../../support/device.ts";

const CLASS: ProbeClass<"product"> = {
  name: "product",
  check: [{ inputs: { a: f32([9, 8]), b: f32([8, 12]) }, build: (g, { a, b }) => matmul(g, a!, b!) }],
  time: { inputs: { a: f32([16, 16]), b: f32([16, 16]) }, build: (g, { a, b }) => matmul(g, a!, b!) },
};
const PLAIN: Candidate<"plain"> = { name: "plain", plan: (g) => g, tolerance: 1e-5 };

/** The plain way with the shader's text changed. */
function altered<Name extends string>(name: Name, from: string, to: string): Candidate<Name> {
  const change = (dispatch: Dispatch): Dispatch => {
    const { GEMM } = dispatch.defines;
    if (typeof GEMM !== "string" || !GEMM.includes(from)) throw new Error(`the core has no "${from}"`);
    return { ...dispatch, defines: { ...dispatch.defines, GEMM: GEMM.replace(from, to) } };
  };
  return { name, plan: (g) => withDispatches(g, change), tolerance: 1e-5 };
}

test("a wrong candidate and one that does not compile are reported and do not win", async () => {
  const device = await testDevice();
  const wrong = altered("wrong", "* params.scale", "* (params.scale + 0.001)");
  const broken = altered("broken", "* params.scale", "* params.noSuchField");
  const told: ProbeRow[] = [];
  const group = { classes: [CLASS], candidates: [wrong, broken, PLAIN], plain: PLAIN };
  const probe = await KernelProbe.create(device, [group]);
  const rows = await probe.run(group, (row) => told.push(row));
  probe.destroy();
  assert.equal(told, rows);
  const of = (name: string): ProbeRow => rows.find((r) => r.candidate === name)!;
  assert.is(rows.length, 3);
  assert.match(of("wrong").problem!, /is wrong: it differs from the plain variant by 1\.0e-3/);
  assert.match(of("broken").problem!, /noSuchField/);
  assert.is(of("plain").problem, null);
  assert.ok(of("plain").milliseconds! > 0 && of("plain").error! <= 1e-6);
  assert.equal(winners(rows), { product: "plain" });
  await device.settle(); // nothing of the failed ones is left to be blamed on what comes next
});

test("what classes share is checked once, and every sample is written to the device once", async () => {
  const device = await testDevice();
  let recorded = 0;
  const counted: Candidate<"counted"> = { ...PLAIN, name: "counted", plan: (g) => (recorded++, g) };
  const classes = ["a", "b", "c"].map((name) => ({ ...CLASS, name, time: { ...CLASS.time } }));
  const group = { classes, candidates: [counted, PLAIN], plain: PLAIN };
  const before = device.usage.allocatedBytes;
  const probe = await KernelProbe.create(device, [group]);
  assert.is(recorded, 4, "planned for the shared check and three sizes");
  const rows = await probe.run(group);
  assert.is(recorded, 8, "run for the same");
  const expected = ["a", "b", "c"].flatMap((name) => [[name, "counted", null], [name, "plain", null]]);
  assert.equal(rows.map((r) => [r.class, r.candidate, r.problem]), expected);
  probe.destroy();
  await device.settle();
  assert.ok(device.usage.allocatedBytes - before < 2 ** 16, "inputs are freed");
});

test("the fastest wins, of nearly equal ones the first", () => {
  const row = (name: string, candidate: string, milliseconds: number | null): ProbeRow => ({
    class: name,
    candidate,
    error: 0,
    milliseconds,
    problem: milliseconds === null ? "is wrong" : null,
  });
  const rows = [
    row("a", "x", 10),
    row("a", "y", 9.9),
    row("b", "x", 10),
    row("b", "y", 5),
    row("c", "x", null),
    row("c", "y", 20),
    row("d", "x", null),
  ];
  assert.equal(winners(rows), { a: "x", b: "y", c: "y" });
});

test("auto uses what was remembered for this adapter, precision and text, bit for bit the same each time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lethe-cache-"));
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = folder;
  try {
    const device = await testDevice();
    const shipped = shippedChoice(device.capabilities, "f32");
    if (device.info.software) {
      assert.equal(await chooseKernels(device, "auto", "f32", cache), shipped, "a software adapter is not measured at start");
    }
    const other = {
      ...shipped,
      table: { ...uniformTable("register"), "conv2d large": "workgroup-64" as const },
      measured: "2026-01-02T03:04:05.000Z",
    };
    const file = join(folder, "lethe", `${cacheKey(device, "f32")}.json`);
    await cache.writeCache(cacheKey(device, "f32"), JSON.stringify(other));
    assert.equal(readdirSync(join(folder, "lethe")).length, 1);
    for (let i = 0; i < 2; i++) assert.equal(await chooseKernels(device, "auto", "f32", cache), { ...other, origin: "remembered" });
    assert.equal((await chooseKernels(device, "default", "f32", cache)).table, shipped.table);
    if (device.info.software) {
      assert.is((await chooseKernels(device, "auto", "auto", cache)).origin, "shipped", "another precision is another choice");
    }
    const opened = await openDevice({ adapter: device.info.name });
    assert.equal(opened.capabilities.gemm, other.table);
    assert.is(describeChoice(opened.kernels), "register, conv2d large: workgroup-64 (remembered, measured 2026-01-02)");
    opened.destroy();
    writeFileSync(file, readFileSync(file, "utf8").slice(0, 40));
    if (device.info.software) {
      assert.is((await chooseKernels(device, "auto", "f32", cache)).origin, "shipped", "a damaged file is not a choice");
    }
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    rmSync(folder, { recursive: true });
  }
});

test("a remembered variant that this device cannot run is not a choice", async () => {
  const { capabilities } = await testDevice();
  const text = (variant: string, attention: Record<string, string> = uniformAttention("rows")): string =>
    JSON.stringify({
      table: Object.fromEntries(GEMM_CLASSES.map((c) => [c, variant])),
      subgroupRows: true,
      attention,
      measured: "2026-01-02",
      rows: [],
    });
  assert.is(parseChoice(text("register", uniformAttention("tiled-4")), capabilities, "f32")?.attention["query large"], "tiled-4");
  assert.is(parseChoice(text("register", { ...uniformAttention("rows"), "query large": "no-such-form" }), capabilities, "f32"), undefined);
  assert.is(parseChoice(text("register"), capabilities, "f32")?.table["matmul small"], "register");
  for (const variant of ["register-f16", "no-such-variant"]) assert.is(parseChoice(text(variant), capabilities, "f32"), undefined, variant);
  assert.is(parseChoice("null", capabilities, "f32"), undefined);
});

test("a structure by name is used for every product, or refused with what it lacks", async () => {
  const device = await testDevice();
  const choice = await chooseKernels(device, "workgroup-128", "f32", cache);
  assert.equal([choice.origin, choice.table], ["given", uniformTable("workgroup-128")]);
  let error: unknown;
  await chooseKernels(device, "register", "f16", cache).catch((e: unknown) => (error = e));
  assert.instance(error, NoAdapterError); // the test device was opened without half precision
  assert.match((error as Error).message, /kernels "register" on .*shader-f16/);
  await chooseKernels(device, "matrix", "f32", cache).catch((e: unknown) => (error = e));
  assert.instance(error, UsageError);
});

test("the cache folder follows XDG_CACHE_HOME and the system", () => {
  assert.is(cache.cacheFolder({ XDG_CACHE_HOME: "/x/cache" }, "linux"), "/x/cache/lethe");
  assert.match(cache.cacheFolder({ XDG_CACHE_HOME: "relative" }, "linux"), /\/\.cache\/lethe$/);
  assert.match(cache.cacheFolder({}, "darwin"), /Library\/Caches\/lethe$/);
  assert.match(cache.cacheFolder({ LOCALAPPDATA: "/local" }, "win32"), /local\/lethe\/cache$/);
});

finish();
