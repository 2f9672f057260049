// The size of subgroups, and the matrix units that shaders may use: what is settled when a device is opened.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { MatrixConfig } from "../../kernels/kernel.ts";
import { MATRIX_DIALECTS } from "../../kernels/matrix-dialect.ts";
import { chooseKernels } from "../../engine/runtime/choice/kernel-choice.ts";
import { findAdapter, readCache, writeCache } from "../../engine/platform/node.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { ShaderCompileError, errorMessage } from "../../engine/runtime/errors.ts";
import { withSubgroupSize } from "../../engine/runtime/shader.ts";
import { type MatrixProduct, findMatrixUnits } from "../../engine/runtime/subgroups/subgroup-probe.ts";
import { SELF_TESTS } from "../../engine/verify/self-test/index.ts";
import { runOpSpec } from "../../engine/verify/self-test/op-check.ts";
import { finish, halfDevice, testDevice } from "../support/device.ts";

const LARGE: MatrixConfig = { component: "f16", m: 16, n: 16, k: 16 };
const FLAT: MatrixConfig = { component: "f16", m: 16, n: 8, k: 16 };
const SINGLE: MatrixConfig = { component: "f32", m: 8, n: 8, k: 8 };
const [DAWN, DRAFT, UNTYPED, OLDER] = MATRIX_DIALECTS;
const dawnOnly = (feature: string): boolean => feature === DAWN!.feature;

/** Products that are off by so much; a text: they do not compile, and the text says why. */
function products(outcome: (config: MatrixConfig, lanes: number, dialect: string) => number | string): MatrixProduct {
  return async (config, lanes, dialect) => {
    const found = outcome(config, lanes, dialect.name);
    if (typeof found === "string") throw new ShaderCompileError(found);
    return found;
  };
}

test("a configuration whose numbers are wrong is told with its error, and not used", async () => {
  const errors = products((c) => (c === LARGE ? 0.25 : c === FLAT ? 1e-7 : NaN));
  const { units, checks } = await findMatrixUnits([LARGE, FLAT, SINGLE], [32], dawnOnly, errors);
  assert.equal(units, { configs: [FLAT], lanes: 32, dialect: DAWN! });
  assert.equal(checks.map((c) => c.error), [0.25, 1e-7, null]);
  assert.match(checks[0]!.problem!, /^is wrong: its products are off by 2\.5e-1, allowed are 0\.00001$/);
  assert.is(checks[1]!.problem, null);
  assert.match(checks[2]!.problem!, /is wrong/);
});

test("sums in f16 are wrong, whatever the adapter calls them", async () => {
  assert.is((await findMatrixUnits([LARGE], [32], dawnOnly, products(() => 1.3e-4))).units, undefined);
});

test("dialects and sizes are tried in turn until one compiles and is right", async () => {
  const tried: string[] = [];
  type Right = (lanes: number, dialect: string) => boolean;
  const find = (has: (feature: string) => boolean, right: Right): ReturnType<typeof findMatrixUnits> =>
    findMatrixUnits([LARGE], [32, 16], has, products((_, lanes, dialect) => {
      tried.push(`${lanes} ${dialect}`);
      return right(lanes, dialect) ? 0 : "unrecognized extension\nand more";
    }));
  assert.is((await find(() => true, (_, dialect) => dialect === OLDER!.name)).units!.dialect, OLDER);
  assert.equal(tried.splice(0), MATRIX_DIALECTS.map((d) => `32 ${d.name}`));
  assert.is((await find((f) => f === DRAFT!.feature, (_, dialect) => dialect === UNTYPED!.name)).units!.dialect, UNTYPED);
  assert.equal(tried.splice(0), [`32 ${DRAFT!.name}`, `32 ${UNTYPED!.name}`], "Dawn's are not tried without its feature");
  assert.is((await find(dawnOnly, (lanes) => lanes === 16)).units!.lanes, 16);
  const wrong: string[] = [];
  await findMatrixUnits([LARGE], [32, 16], () => true, products((_, lanes, dialect) => wrong.push(`${lanes} ${dialect}`)));
  assert.equal(wrong, [`32 ${DAWN!.name}`, `16 ${DAWN!.name}`], "numbers that are wrong are wrong in every dialect");
  const none = await find(dawnOnly, () => false);
  assert.is(none.units, undefined);
  assert.is(none.checks[0]!.problem, "does not compile: unrecognized extension");
});

test("a shader with subgroups states their size, another is left as it is", () => {
  const text = "enable f16;\nenable subgroups;\n@compute @workgroup_size(64) fn main() {}";
  assert.is(withSubgroupSize(text, 0), text);
  assert.is(withSubgroupSize("@compute @workgroup_size(64) fn main() {}", 32), "@compute @workgroup_size(64) fn main() {}");
  assert.is(
    withSubgroupSize(text, 32),
    "enable subgroup_size_control;\nenable f16;\nenable subgroups;\n@compute @subgroup_size(32) @workgroup_size(64) fn main() {}",
  );
});

interface Other {
  readonly sizes?: readonly [least: number, most: number];
  readonly without?: string;
  readonly shader?: (text: string) => string;
}

/** The test's adapter, which says something else of itself or compiles other shaders. */
async function otherGpu({ sizes, without, shader }: Other): Promise<GPU> {
  const { adapter } = await findAdapter({ name: (await testDevice()).info.name });
  const { info } = adapter;
  const names = ["vendor", "architecture", "device", "description", "subgroupMinSize", "subgroupMaxSize", "subgroupMatrixConfigs"] as const;
  const said = Object.fromEntries(names.map((name) => [name, (info as unknown as Record<string, unknown>)[name]]));
  const other = {
    info: { ...said, ...(sizes && { subgroupMinSize: sizes[0], subgroupMaxSize: sizes[1] }), isFallbackAdapter: true },
    limits: adapter.limits,
    features: new Set([...adapter.features].filter((f) => f !== without)),
    async requestDevice(descriptor: GPUDeviceDescriptor): Promise<GPUDevice> {
      const device = await adapter.requestDevice(descriptor);
      const create = device.createShaderModule.bind(device);
      if (shader) device.createShaderModule = (d) => create({ ...d, code: shader(d.code) });
      return device;
    },
  };
  return { requestAdapter: async () => other } as unknown as GPU;
}

/** Kernels with subgroups, by their self-tests. */
async function runsRight(device: Device): Promise<void> {
  for (const name of ["softmax", "layer norm"]) {
    const { comparisons } = await runOpSpec(device, SELF_TESTS.find((s) => s.name === name)!);
    assert.ok(comparisons.every((c) => c.error <= c.tolerance), name);
  }
}

test("the size is stated where the device offers that, and nowhere else", async () => {
  const device = await testDevice();
  const { features, pipelines, capabilities: { subgroupSize } } = device;
  assert.is(pipelines.statedSubgroups, features.includes("subgroup-size-control") ? subgroupSize : 0);
  if (subgroupSize === 0) return;
  await runsRight(device);
  const plain = await openDevice({ gpu: await otherGpu({ without: "subgroup-size-control" }) });
  assert.is(plain.pipelines.statedSubgroups, 0);
  assert.is(plain.capabilities.subgroupSize, subgroupSize, "there is one size all the same");
  await runsRight(plain);
  await plain.close();
});

test("of several sizes one is used that compiles; without a say in it none is relied on", async () => {
  const { capabilities: { subgroupSize }, features } = await testDevice();
  if (subgroupSize === 0 || !features.includes("subgroup-size-control")) return console.log("no say in the size of subgroups: not run");
  const several = await openDevice({ gpu: await otherGpu({ sizes: [4, 64] }), kernels: "default" });
  assert.is(several.capabilities.subgroupSize, subgroupSize, "32, 16 and 64 lanes do not compile here");
  await runsRight(several);
  await several.close();
  const unstated = await openDevice({ gpu: await otherGpu({ sizes: [4, 64], without: "subgroup-size-control" }), kernels: "default" });
  assert.is(unstated.capabilities.subgroupSize, 0);
  await runsRight(unstated);
  await unstated.close();
});

test("real units: every configuration is checked; where one is wrong it is told by name, and not used when asked for either", async () => {
  const device = await halfDevice();
  if (!device || device.info.matrices.length === 0) {
    assert.not(process.env.LETHE_NEEDS_MATRIX, "no matrix units");
    return console.log("no matrix units: not run");
  }
  assert.equal(device.matrixChecks.map((c) => c.config), device.info.matrices);
  assert.ok(device.matrixChecks.every((c) => c.problem === null && c.error! <= 1e-6), JSON.stringify(device.matrixChecks));
  for (const [from, to, wrong] of [
    ["col_major>(&operands, (RIGHT", "row_major>(&operands, (RIGHT", /f16 [\dx ]+ is wrong: its products are off by/],
    ["const OPERANDS", "const OPERANDS: nothing", /f16 [\dx ]+ does not compile: /],
  ] as const) {
    const shader = (text: string): string => text.replace(from, to);
    const lines: string[] = [];
    const say = (line: string): void => void lines.push(line);
    const faulty = await openDevice({ gpu: await otherGpu({ shader }), math: "f16", kernels: "default", say });
    assert.is(faulty.capabilities.matrixUnits, undefined);
    assert.match(lines.join("\n"), wrong);
    let refused: unknown;
    await chooseKernels(faulty, "matrix", "f16", { readCache, writeCache }).catch((error: unknown) => (refused = error));
    assert.match(errorMessage(refused), wrong);
    await runsRight(faulty);
    await faulty.close();
  }
});

finish();
