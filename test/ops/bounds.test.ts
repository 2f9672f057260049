// No shader leaves its buffers. Accesses are not clamped in Node, so this is what keeps them in: every kernel, in every variant that the
// device can run, with guard words (NaN) around each buffer, which must stay as they are, and the same bits as on a device that clamps.
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formsFor } from "../../kernels/attention-form.ts";
import { uniformAttention } from "../../kernels/attention-table.ts";
import { GEMM_STRUCTURES, type GemmVariant, uniformTable, variantOf } from "../../kernels/gemm-table.ts";
import { onMatrixUnits, whyNot } from "../../kernels/gemm-variants.ts";
import { KERNELS } from "../../kernels/index.ts";
import type { Capabilities } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { NoAdapterError } from "../../engine/runtime/errors.ts";
import { SELF_TESTS } from "../../engine/verify/self-test/index.ts";
import { matmul64 } from "../../engine/verify/self-test/reference/gemm.ts";
import { type OpSpec, computeSpec, recordSpec, withHalfTensors } from "../../engine/verify/self-test/op-check.ts";
import { finish } from "../support/device.ts";
import { GuardWords } from "../support/guard-words.ts";

const options = {
  kernels: "default" as const,
  bufferSharing: false,
  ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }),
  limits: process.env.LETHE_LIMITS === "default" ? ("default" as const) : ("adapter" as const),
};

/** Shaders that ran between guard words, and those that this device cannot run. */
const ran = new Set<string>();
const cannotRun = new Set<string>();

/** The same adapter twice: clamped, and unclamped with guard words. In f16 where it can. */
async function both(math: "f16" | "f32"): Promise<{ clamped: Device; free: Device; guards: GuardWords } | undefined> {
  try {
    const [clamped, free] = [await openDevice({ ...options, math, robust: true }), await openDevice({ ...options, math })];
    const get = free.pipelines.get.bind(free.pipelines);
    free.pipelines.get = (dispatch) => {
      ran.add(dispatch.shader.name);
      return get(dispatch);
    };
    return { clamped, free, guards: new GuardWords(free) };
  } catch (error) {
    if (error instanceof NoAdapterError && error.message.includes("shader-f16")) return undefined;
    throw error;
  }
}

/** A spec planned in another way. */
function planned(spec: OpSpec, name: string, other: Partial<Capabilities>): OpSpec {
  return { ...spec, name: `${spec.name}, ${name}`, build: (g, v) => spec.build(planningFor(g, other), v) };
}

async function check(
  { clamped, free, guards }: NonNullable<Awaited<ReturnType<typeof both>>>,
  spec: OpSpec,
  seen: Set<string>,
): Promise<void> {
  const recorded = recordSpec(spec);
  const [expected, found] = [await computeSpec(clamped, recorded, spec.name), await computeSpec(free, recorded, spec.name)];
  for (const kernel of found.kernels) seen.add(kernel);
  assert.equal(await guards.broken(), [], `${spec.name}: guard words were written`);
  for (const [tensor, data] of Object.entries(expected.results)) {
    const [a, b] = [data, found.results[tensor]!].map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length));
    assert.ok(a!.every((word, i) => word === b![i]), `${spec.name}, ${tensor}: other bits without clamping`);
  }
}

const named = (...names: string[]): OpSpec[] => names.map((name) => SELF_TESTS.find((s) => s.name === name)!);

/** Long enough that workgroups share its steps, in sizes that no tile divides. */
const LONG: OpSpec = {
  name: "matmul of many steps",
  inputs: { a: { shape: [37, 452] }, b: { shape: [452, 76] }, residual: { shape: [37, 76] } },
  build: (g, { a, b, residual }) => matmul(g, a!, b!, { residual }),
  reference: ({ a, b }) => matmul64(a!, b!, false),
};

test("every kernel, as shipped", async () => {
  const devices = (await both("f32"))!;
  const seen = new Set<string>();
  for (const spec of SELF_TESTS) await check(devices, spec, seen);
  assert.equal(KERNELS.filter((k) => k.layout !== "view" && !seen.has(k.name)).map((k) => k.name), [], "kernels that were not run");
  for (const device of [devices.clamped, devices.free]) device.destroy();
});

test("every kernel with its tensors stored as f16", async () => {
  const devices = await both("f16");
  if (!devices) return console.log("no shader-f16: not run");
  const seen = new Set<string>();
  const specs = SELF_TESTS.flatMap((spec) => withHalfTensors(spec, devices.free) ?? []);
  for (const spec of specs) await check(devices, spec, seen);
  assert.ok(seen.has("conv2d") && seen.has("attention-gradient") && seen.has("group-norm-gradient"), [...seen].join());
  for (const device of [devices.clamped, devices.free]) device.destroy();
});

for (const math of ["f32", "f16"] as const) {
  test(`every variant of products and attention, ${math}`, async () => {
    const devices = await both(math);
    if (!devices) return console.log("no shader-f16: not run");
    const { capabilities } = devices.free;
    const seen = new Set<string>();
    const can = (variant: GemmVariant): boolean => whyNot(variant, capabilities) === undefined;
    // With f16 operands the tiles are the same but for those on matrix units; compiling them all twice takes minutes.
    const structures = GEMM_STRUCTURES.filter((s) => math === "f32" || onMatrixUnits(s) || s === "workgroup-64");
    for (const structure of structures) {
      const whole = variantOf(structure, math === "f16");
      const split = variantOf(structure, math === "f16", 1024);
      if (!can(whole)) continue;
      for (const spec of named("matmul", "conv2d 3x3")) await check(devices, planned(spec, whole, { gemm: uniformTable(whole) }), seen);
      if (structure !== "register" && structure !== "broadcast") {
        await check(devices, planned(LONG, split, { gemm: uniformTable(split) }), seen);
      }
    }
    for (const form of formsFor(capabilities)) {
      if (math === "f16" && form !== "matrix") continue;
      for (const spec of named("attention", "attention, causal")) {
        await check(devices, planned(spec, form, { attention: uniformAttention(form) }), seen);
      }
    }
    if (math === "f32") {
      for (const spec of named("layer norm", "softmax")) {
        await check(devices, planned(spec, "rows without subgroups", { subgroupRows: false }), seen);
      }
    }
    for (const device of [devices.clamped, devices.free]) device.destroy();
  });
}

test("every shader was run between guard words", async () => {
  const device = await openDevice(options);
  if (!device.info.matrices.some((c) => c.component === "f16")) {
    for (const name of ["", "-gradient-query", "-gradient-key-value"]) cannotRun.add(`attention-matrix${name}`);
  }
  device.destroy();
  // A bench's own, and one that no op runs, on units alone.
  const others = new Set(["bench-copy", "bench-fma", "matrix-check"]);
  const all = readdirSync("shaders").flatMap((file) => (file.endsWith(".wgsl") ? [file.slice(0, -".wgsl".length)] : []));
  assert.equal(all.filter((name) => !ran.has(name) && !others.has(name) && !cannotRun.has(name)), []);
});

test("a shader that leaves its buffer is found", async () => {
  const devices = (await both("f32"))!;
  const spec = SELF_TESTS.find((s) => s.name === "scale")!;
  const beyond: OpSpec = { ...spec, build: (g, v) => spec.build(planningFor(g, {}), v) };
  const recorded = recordSpec(beyond);
  // One vec4 more than there is.
  const { pipelines } = devices.free;
  const get = pipelines.get.bind(pipelines);
  pipelines.get = (dispatch) =>
    get({
      ...dispatch,
      defines: { ...dispatch.defines, POINTWISE: String(dispatch.defines["POINTWISE"]).replace("i < params", "i <= params") },
    });
  await computeSpec(devices.free, recorded, "beyond");
  assert.ok((await devices.guards.broken()).length > 0);
  for (const device of [devices.clamped, devices.free]) device.destroy();
});

finish();
