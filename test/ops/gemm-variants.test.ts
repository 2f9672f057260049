import { test } from "uvu";
import * as assert from "uvu/assert";
import { conv2d } from "../../kernels/conv2d.ts";
import { GEMM_STRUCTURES, defaultStructure, gemmClass, uniformTable, variantOf, whyNot } from "../../kernels/gemm-variants.ts";
import { matmul } from "../../kernels/matmul.ts";
import { type OpSpec, checkVariant } from "../support/op-test.ts";
import { finish, halfDevice, testDevice } from "../support/device.ts";
import { activation64, conv2d64, matmul64, zip64 } from "../../engine/verify/self-test/reference/gemm.ts";

// Rows, columns and k that are no multiple of any tile (8 to 128), k below and above a step of 16; scalars and vec4s; weights as models store them;
// everything fused once, few pipelines.
const LINEAR: OpSpec = {
  name: "linear in panels, everything fused",
  inputs: { x: { shape: [1, 131, 36] }, w: { shape: [36, 96], scale: 0.3, stored: "f32" }, bias: { shape: [96] }, residual: { shape: [1, 131, 96] } },
  build: (g, v) => matmul(g, v.x!, v.w!, { bias: v.bias, activation: "silu", residual: v.residual, scale: 0.7 }),
  reference: ({ x, w, bias, residual }) => zip64(zip64(matmul64(x!, w!, false), (s, i) => s + bias!.data[i % 96]!), (s, i) => (activation64("silu", s) + residual!.data[i]!) * 0.7),
  gradients: ["x"],
};
const SPECS: readonly OpSpec[] = [
  LINEAR,
  {
    name: "linear, odd sizes",
    inputs: { x: { shape: [2, 9, 7] }, w: { shape: [7, 5] } },
    build: (g, v) => matmul(g, v.x!, v.w!),
    reference: ({ x, w }) => matmul64(x!, w!, false),
    gradients: ["x"],
  },
  {
    name: "matmul, one transposed B per batch",
    inputs: { a: { shape: [3, 37, 20] }, b: { shape: [3, 76, 20] } },
    build: (g, v) => matmul(g, v.a!, v.b!, { transposeB: true }),
    reference: ({ a, b }) => matmul64(a!, b!, true),
  },
  {
    name: "conv2d of stride 2, batch bias",
    inputs: { x: { shape: [2, 9, 7, 20] }, w: { shape: [3, 3, 20, 36], scale: 0.2 }, batchBias: { shape: [2, 36] } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { batchBias: v.batchBias, stride: 2, padding: [0, 1, 0, 1] }),
    reference: (v) => zip64(conv2d64(v.x!, v.w!, undefined, 2, [0, 1, 0, 1]), (y, i) => y + v.batchBias!.data[Math.floor(i / (4 * 3 * 36)) * 36 + (i % 36)]!),
    gradients: ["x"],
  },
  {
    name: "conv2d, f16 weights in panels",
    inputs: { x: { shape: [1, 5, 9, 36] }, w: { shape: [3, 3, 36, 32], scale: 0.2, stored: "f16" } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { padding: 1 }),
    reference: (v) => conv2d64(v.x!, v.w!, undefined, 1, [1, 1, 1, 1]),
  },
];

for (const structure of GEMM_STRUCTURES) {
  test(`${structure} agrees with float64 at awkward shapes`, async () => {
    const device = await testDevice();
    const why = whyNot(structure, device.capabilities);
    if (why !== undefined) return assert.is(structure, "broadcast", why); // the only one that not every device can run
    for (const spec of SPECS) await checkVariant(device, spec, uniformTable(structure));
  });

  test(`${structure} with f16 operands stays near float64`, async () => {
    const device = await halfDevice();
    if (!device || whyNot(variantOf(structure, true), device.capabilities) !== undefined) return;
    // Operands are rounded to 11 bits: 2^-12 on average for each of two; two products deep for the gradient behind an activation.
    await checkVariant(device, { ...LINEAR, forwardTolerance: 1e-3, gradientTolerance: 2e-3 }, uniformTable(variantOf(structure, true)));
  });
}

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
});

finish();
