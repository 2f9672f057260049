import { create } from "webgpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { conv2d } from "../../kernels/conv2d.ts";
import { GEMM_STRUCTURES } from "../../kernels/gemm-table.ts";
import { defaultStructure, gemmClass, uniformTable, variantOf, whyNot } from "../../kernels/gemm-variants.ts";
import { type Dispatch, f32 } from "../../kernels/kernel.ts";
import { matmul, matmulKernel } from "../../kernels/matmul.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { type OpSpec, checkVariant } from "../support/op-test.ts";
import matrixUnits from "../support/matrix-units.wgsl";
import { withDispatches } from "../support/planning.ts";
import { finish, halfDevice, testDevice } from "../support/device.ts";
import { conv2d64, matmul64, zip64 } from "../../engine/verify/self-test/reference/gemm.ts";

// Rows, columns and k that are no multiple of any tile (8 to 128), k below and above a step of 16; scalars and vec4s; weights as models store them, f32
// in panels and f16 without. Few pipelines, because each takes seconds to compile on a software adapter; activations are the core's, and tested with it.
const LINEAR: OpSpec = {
  name: "linear in panels, residual and scale",
  inputs: { x: { shape: [1, 131, 36] }, w: { shape: [36, 96], scale: 0.3, stored: "f32" }, bias: { shape: [96] }, residual: { shape: [1, 131, 96] } },
  build: (g, v) => matmul(g, v.x!, v.w!, { bias: v.bias, residual: v.residual, scale: 0.7 }),
  reference: ({ x, w, bias, residual }) => zip64(matmul64(x!, w!, false), (s, i) => (s + bias!.data[i % 96]! + residual!.data[i]!) * 0.7),
};
const SPECS: readonly OpSpec[] = [
  { ...LINEAR, gradients: ["x"] },
  {
    name: "linear, odd sizes",
    inputs: { x: { shape: [2, 9, 7] }, w: { shape: [7, 5] } },
    build: (g, v) => matmul(g, v.x!, v.w!),
    reference: ({ x, w }) => matmul64(x!, w!, false),
  },
  {
    name: "matmul, one transposed B per batch",
    inputs: { a: { shape: [3, 37, 20] }, b: { shape: [3, 76, 20] } },
    build: (g, v) => matmul(g, v.a!, v.b!, { transposeB: true }),
    reference: ({ a, b }) => matmul64(a!, b!, true),
  },
  {
    name: "conv2d of stride 2, batch bias, f16 weights",
    inputs: { x: { shape: [2, 9, 7, 20] }, w: { shape: [3, 3, 20, 36], scale: 0.2, stored: "f16" }, batchBias: { shape: [2, 36] } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { batchBias: v.batchBias, stride: 2, padding: [0, 1, 0, 1] }),
    reference: (v) => zip64(conv2d64(v.x!, v.w!, undefined, 2, [0, 1, 0, 1]), (y, i) => y + v.batchBias!.data[Math.floor(i / (4 * 3 * 36)) * 36 + (i % 36)]!),
    gradients: ["x"],
  },
];

for (const structure of GEMM_STRUCTURES.filter((s) => s !== "matrix")) {
  test(`${structure} agrees with float64 at awkward shapes`, async () => {
    const device = await testDevice();
    const why = whyNot(structure, device.capabilities);
    if (why !== undefined) return assert.is(structure, "broadcast", why); // the only one that not every device can run
    for (const spec of SPECS) await checkVariant(device, spec, uniformTable(structure));
  });

  test(`${structure} with f16 operands stays near float64`, async () => {
    const device = await halfDevice();
    if (!device || whyNot(variantOf(structure, true), device.capabilities) !== undefined) return;
    // Operands are rounded to 11 bits.
    await checkVariant(device, { ...LINEAR, forwardTolerance: 1e-3 }, uniformTable(variantOf(structure, true)));
  });
}

// Dawn's devices without a driver; kept, because Dawn crashes when this is collected before a device of it.
const nothing = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);

/** What the shader for matrix units computes, with the units themselves done by hand. */
function emulated(dispatch: Dispatch): Dispatch {
  const text = String(dispatch.defines["TILE"])
    .replace(/alias (Left|Right|Sum) = .*\n/g, "")
    .replace(/subgroupMatrixLoad<\w+, row_major>\(&\w+, ([^,]+), \d+u\)/g, "$1")
    .replace(/subgroupMatrixStore<row_major>\(&staged, to, (\w+), 16u\)/g, "keep(to, $1)")
    .replaceAll("subgroupMatrixMultiplyAccumulate", "multiply")
    .replace(/@builtin\(subgroup_id\) [^{]*\{/, ") {\n  let subgroup = local / 32u;\n  let lane = local % 32u;\n  laneHere = lane;");
  return { ...dispatch, defines: { ...dispatch.defines, TILE: `${matrixUnits}\n${text}`, ENABLE: "enable f16;" } };
}

test("matrix: staging, tiles and epilogue agree with float64, its units done by hand", async () => {
  const device = await halfDevice();
  if (!device) return;
  // Both ways of staging B: row by row, and in blocks.
  const transposed: OpSpec = {
    name: "linear, transposed",
    inputs: { x: { shape: [131, 36] }, w: { shape: [150, 36] } },
    build: (g, v) => matmul(g, v.x!, v.w!, { transposeB: true }),
    reference: ({ x, w }) => matmul64(x!, w!, true),
  };
  for (const spec of [LINEAR, transposed]) {
    await checkVariant(device, { ...spec, build: (g, v) => spec.build(withDispatches(g, emulated), v), forwardTolerance: 1e-3 }, uniformTable("matrix-f16"));
  }
});

test("matrix: the real units compile, as far as Dawn tells without a device that has them", async () => {
  const device = await openDevice({ gpu: nothing, math: "f16", kernels: "default" });
  const capabilities = { ...device.capabilities, matrixUnits: true, gemm: uniformTable("matrix-f16") };
  assert.is(whyNot("matrix-f16", capabilities), undefined);
  for (const [k, n, transposeB] of [[20, 36, false], [20, 36, true], [7, 5, false]] as const) {
    const inputs = [f32([9, k]), f32(transposeB ? [n, k] : [k, n])];
    const { dispatches } = matmulKernel.plan!({ inputs, outputs: [f32([9, n])], read: [true], attributes: { transposeB, activation: "none", scale: 1 }, capabilities });
    for (const dispatch of dispatches) await device.pipelines.get(dispatch);
  }
  await device.settle();
  device.destroy();
});

test("a class is told by the op and the size of its result", () => {
  assert.is(gemmClass("matmul", false, 100), "matmul small");
  assert.is(gemmClass("matmul", true, 2 ** 20), "matmul-transposed large");
  assert.is(gemmClass("conv2d-gradient", true, 2 ** 17), "conv2d-gradient large");
});

test("a device without a choice: broadcast on software with small subgroups, the plain variant elsewhere", () => {
  const base = { software: true, subgroupSize: 8, shaderF16: false, maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxStorageBufferBindingSize: 2 ** 27 };
  assert.is(defaultStructure(base), "broadcast");
  assert.is(defaultStructure({ ...base, subgroupSize: 0 }), "register");
  assert.is(defaultStructure({ ...base, software: false, subgroupSize: 32 }), "register");
  assert.match(whyNot("broadcast", { ...base, subgroupSize: 32 })!, /has 32/);
  assert.match(whyNot("register-f16", base)!, /shader-f16/);
  assert.match(whyNot("matrix", { ...base, matrixUnits: true })!, /f16 operands only/);
  assert.match(whyNot("matrix-f16", { ...base, shaderF16: true })!, /matrix units/);
});

finish();
