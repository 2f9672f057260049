import { create } from "webgpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { conv2d } from "../../kernels/conv2d.ts";
import { GEMM_STRUCTURES, uniformTable, variantOf } from "../../kernels/gemm-table.ts";
import { defaultStructure, gemmClass, onMatrixUnits, whyNot } from "../../kernels/gemm-variants.ts";
import { type Capabilities, type Dispatch, type MatrixConfig, type MatrixUnits, type Plan, f32 } from "../../kernels/kernel.ts";
import { matrixCheckKernel } from "../../kernels/matrix-check.ts";
import { matmulGeglu } from "../../kernels/matmul-geglu.ts";
import { matmul, matmulKernel } from "../../kernels/matmul.ts";
import { MATRIX_DIALECTS } from "../../kernels/matrix-dialect.ts";
import { expandShader } from "../../engine/runtime/shader.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import { type OpSpec, checkVariant } from "../support/op-test.ts";
import matrixUnits from "../support/matrix-units.wgsl";
import { withDispatches } from "../support/planning.ts";
import { finish, halfDevice, testDevice } from "../support/device.ts";
import { conv2d64, matmul64 } from "../../engine/verify/self-test/reference/gemm.ts";
import { activations, map64 } from "../../engine/verify/self-test/reference/norm.ts";

// Rows, columns and k that are not a multiple of any tile (8 to 128), k below and above a step of 16; scalars and vec4s; weights as models
// store them, f32 in panels and f16 without. Few pipelines, because each takes seconds to compile on a software adapter; activations are
// the core's, and tested with it.
const LINEAR: OpSpec = {
  name: "linear in panels, residual and scale",
  inputs: {
    x: { shape: [1, 131, 36] },
    w: { shape: [36, 96], scale: 0.3, stored: "f32" },
    bias: { shape: [96] },
    residual: { shape: [1, 131, 96] },
  },
  build: (g, v) => matmul(g, v.x!, v.w!, { bias: v.bias, residual: v.residual, scale: 0.7 }),
  reference: ({ x, w, bias, residual }) => map64(matmul64(x!, w!, false), (s, i) => (s + bias!.data[i % 96]! + residual!.data[i]!) * 0.7),
};
const SPECS: readonly OpSpec[] = [
  { ...LINEAR, gradients: ["x"] },
  {
    name: "linear, odd sizes",
    inputs: { x: { shape: [2, 9, 7] }, w: { shape: [7, 5] } },
    build: (g, v) => matmul(g, v.x!, v.w!),
    reference: ({ x, w }) => matmul64(x!, w!, false),
    gradients: ["w"],
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
    reference: (v) =>
      map64(
        conv2d64(v.x!, v.w!, undefined, 2, [0, 1, 0, 1]),
        (y, i) => y + v.batchBias!.data[Math.floor(i / (4 * 3 * 36)) * 36 + (i % 36)]!,
      ),
    gradients: ["x"],
  },
  weightGradientSpec("weight gradient", 8, 7),
];

/** Gradients for weights: the inner dimension is the pixels, the padding another on each side. */
function weightGradientSpec(name: string, height: number, width: number): OpSpec {
  const padding = [0, 1, 2, 1] as const;
  return {
    name,
    inputs: { x: { shape: [2, height, width, 20] }, w: { shape: [3, 3, 20, 36], scale: 0.2 } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { stride: 2, padding }),
    reference: ({ x, w }) => conv2d64(x!, w!, undefined, 2, padding),
    gradients: ["w"],
  };
}

const PLAIN_STRUCTURES = GEMM_STRUCTURES.filter((s) => !onMatrixUnits(s));
const MATRIX_STRUCTURES = GEMM_STRUCTURES.filter(onMatrixUnits);

for (const structure of PLAIN_STRUCTURES) {
  test(`${structure} agrees with float64 at awkward shapes`, async () => {
    const device = await testDevice();
    const why = whyNot(structure, device.capabilities);
    if (why !== undefined) return assert.is(structure, "broadcast", why); // the only one that not every device can run
    for (const spec of structure.startsWith("workgroup") ? [...SPECS, ...WHOLE] : SPECS) {
      await checkVariant(device, spec, uniformTable(structure));
    }
  });

  test(`${structure} with f16 operands stays near float64`, async () => {
    const device = await halfDevice();
    if (!device || whyNot(variantOf(structure, true), device.capabilities) !== undefined) return;
    // Operands are rounded to 11 bits.
    await checkVariant(device, { ...LINEAR, forwardTolerance: 1e-3 }, uniformTable(variantOf(structure, true)));
  });
}

// Where k is whole steps of every tile, addresses are not clamped.
const WHOLE: readonly OpSpec[] = [
  {
    ...LINEAR,
    name: "linear of whole steps",
    inputs: { ...LINEAR.inputs, x: { shape: [1, 131, 416] }, w: { shape: [416, 96], scale: 0.1, stored: "f32" } },
    gradients: ["x"],
  },
  {
    name: "linear of whole steps, f16 weights in no panels",
    inputs: { x: { shape: [37, 160] }, w: { shape: [160, 28], scale: 0.2, stored: "f16" } },
    build: (g, v) => matmul(g, v.x!, v.w!),
    reference: ({ x, w }) => matmul64(x!, w!, false),
  },
  {
    name: "transposed, of whole steps",
    inputs: { x: { shape: [131, 160] }, w: { shape: [150, 160] } },
    build: (g, v) => matmul(g, v.x!, v.w!, { transposeB: true }),
    reference: ({ x, w }) => matmul64(x!, w!, true),
  },
  {
    name: "conv2d of whole steps",
    inputs: { x: { shape: [2, 9, 7, 64] }, w: { shape: [3, 3, 64, 96], scale: 0.1, stored: "f16" } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { padding: 1 }),
    reference: (v) => conv2d64(v.x!, v.w!, undefined, 1, [1, 1, 1, 1]),
    gradients: ["x"],
  },
];

// Long enough that workgroups share the steps of a tile, the last with fewer than the others.
const LONG: readonly OpSpec[] = [
  {
    ...LINEAR,
    name: "linear of many steps",
    inputs: { ...LINEAR.inputs, x: { shape: [1, 131, 452] }, w: { shape: [452, 96], scale: 0.1, stored: "f32" } },
    gradients: ["x"],
  },
  {
    name: "geglu of many steps",
    inputs: { x: { shape: [37, 340] }, w: { shape: [340, 64], scale: 0.1, stored: "f16" }, bias: { shape: [64] } },
    build: (g, v) => matmulGeglu(g, v.x!, v.w!, v.bias!),
    reference: ({ x, w, bias }) => {
      const sums = map64(matmul64(x!, w!, false), (s, i) => s + bias!.data[i % 64]!);
      const column = (i: number): number => Math.floor(i / 32) * 64 + Math.floor((i % 32) / 2) * 4 + (i % 2);
      return {
        shape: [37, 32],
        data: Float64Array.from({ length: 37 * 32 }, (_, i) => sums.data[column(i)]! * activations.gelu!(sums.data[column(i) + 2]!)),
      };
    },
  },
  {
    name: "one B per batch, many steps",
    inputs: { a: { shape: [3, 37, 244] }, b: { shape: [3, 244, 76] } },
    build: (g, v) => matmul(g, v.a!, v.b!),
    reference: ({ a, b }) => matmul64(a!, b!, false),
  },
  {
    name: "conv2d of many steps, batch bias",
    inputs: { x: { shape: [2, 9, 7, 68] }, w: { shape: [3, 3, 68, 36], scale: 0.1, stored: "f16" }, batchBias: { shape: [2, 36] } },
    build: (g, v) => conv2d(g, v.x!, v.w!, { batchBias: v.batchBias, padding: 1 }),
    reference: (v) =>
      map64(
        conv2d64(v.x!, v.w!, undefined, 1, [1, 1, 1, 1]),
        (y, i) => y + v.batchBias!.data[Math.floor(i / (9 * 7 * 36)) * 36 + (i % 36)]!,
      ),
    gradients: ["x"],
  },
  weightGradientSpec("weight gradient of many pixels", 33, 30),
];

/** The dispatches of each op of a program that were planned. */
function counting(counts: number[]): (dispatch: Dispatch) => Dispatch {
  return (dispatch) => {
    if (dispatch.params["splits"] !== undefined) counts.push(dispatch.params["splits"]);
    return dispatch;
  };
}

for (const structure of ["workgroup-32", "workgroup-64", "workgroup-128x128"] as const) {
  test(`${structure} with its steps shared among workgroups agrees with float64`, async () => {
    const device = await testDevice();
    for (const spec of LONG) {
      const splits: number[] = [];
      await checkVariant(
        device,
        { ...spec, build: (g, v) => spec.build(withDispatches(g, counting(splits)), v) },
        uniformTable(variantOf(structure, false, 1024)),
      );
      assert.ok((spec.gradients?.includes("w") ? splits.at(-1)! : splits[0]!) > 1, `${spec.name} is split`);
    }
  });
}

test("a product is split into no more workgroups than asked for, in whole steps, and not at all where its tiles are enough", () => {
  const capabilities = { ...GPU, gemm: uniformTable("workgroup-64/512") };
  const of = (rows: number, k: number, n: number): Plan => {
    const context = {
      inputs: { a: f32([rows, k]), b: f32([k, n]) },
      outputs: { y: f32([rows, n]) },
      read: { y: true },
      overwrites: false,
      attributes: { transposeB: false, activation: "none", scale: 1 } as const,
      capabilities,
    };
    return matmulKernel.plan!(context);
  };
  const few = of(64, 11520, 1280);
  assert.is(few.dispatches.length, 2);
  assert.equal([few.dispatches[0]!.params["splits"], few.dispatches[0]!.params["stepsPerSplit"]], [25, 29]); // 20 tiles, 720 steps
  assert.is(few.scratch![0], 25 * 64 * 1280 * 4);
  assert.is(of(64, 48, 1280).dispatches.length, 1, "three steps are not worth sharing");
  assert.is(of(4096, 320, 1280).dispatches.length, 1, "1280 tiles are enough");
  assert.is(of(64, 11521, 1280).dispatches.length, 1, "sizes that are not vec4s are not split");
});

// Dawn's devices without a driver; kept, because Dawn crashes when this is collected before a device of it.
const nothing = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);

const UNITS: MatrixUnits = { configs: [{ component: "f16", m: 8, n: 8, k: 8 }], lanes: 8, dialect: MATRIX_DIALECTS[0]! };
const GPU: Capabilities = {
  subgroupSize: 32,
  software: false,
  shaderF16: true,
  maxComputeWorkgroupStorageSize: 49152,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 2 ** 27,
};

/** What the shader for matrix units computes, with the units themselves done by hand. */
function emulated(dispatch: Dispatch): Dispatch {
  const tile = dispatch.defines["TILE"];
  if (typeof tile !== "string" || !tile.includes("subgroupMatrixLoad")) return dispatch;
  const text = tile
    .replace(/alias (Left|Right|Sum) = .*\n/g, "")
    .replace(/fn (left|right|stage)\(.*\n/g, "")
    .replace(/@builtin\(subgroup_id\) [^{]*\{/, ") {\n  let subgroup = local / LANES;\n  let lane = local % LANES;\n  laneHere = lane;");
  return { ...dispatch, defines: { ...dispatch.defines, TILE: `${matrixUnits}\n${text}`, MULTIPLY: "multiply", ENABLE: "enable f16;" } };
}

// Both ways of staging B: row by row, and as a transposed one lies.
const TRANSPOSED: OpSpec = {
  name: "linear, transposed",
  inputs: { x: { shape: [131, 36] }, w: { shape: [150, 36] } },
  build: (g, v) => matmul(g, v.x!, v.w!, { transposeB: true }),
  reference: ({ x, w }) => matmul64(x!, w!, true),
};

for (const structure of MATRIX_STRUCTURES) {
  test(`${structure}: staging, tiles and epilogue agree with float64, its units done by hand`, async () => {
    const device = await halfDevice();
    if (!device) return;
    for (const spec of [LINEAR, TRANSPOSED, { ...WHOLE[0]!, gradients: [] }, WHOLE[2]!]) {
      const build: OpSpec["build"] = (g, v) => spec.build(planningFor(withDispatches(g, emulated), { matrixUnits: UNITS }), v);
      const variant = variantOf(structure, true);
      await checkVariant(device, { ...spec, build, forwardTolerance: 1e-3 }, uniformTable(variant), `${variant}, units by hand`);
    }
  });

  test(`${structure} on real units agrees with float64, whole and split`, async () => {
    const device = await halfDevice();
    if (!device) return;
    const why = whyNot(variantOf(structure, true), device.capabilities);
    if (why !== undefined) {
      assert.not(process.env.LETHE_NEEDS_MATRIX, why);
      return console.log(`${structure}: ${why}: not run on "${device.description}"`);
    }
    const half = (spec: OpSpec): OpSpec => ({ ...spec, forwardTolerance: 1e-3, gradientTolerance: 5e-3 });
    for (const spec of [...SPECS, TRANSPOSED]) await checkVariant(device, half(spec), uniformTable(variantOf(structure, true)));
    for (const spec of [...LONG, ...WHOLE]) await checkVariant(device, half(spec), uniformTable(variantOf(structure, true, 1024)));
  });
}

/** The draft's dialect with what no compiler here knows written as Dawn has it: the name of the extension, and a product's type. */
function asDawn(text: string): string {
  const [dawn, draft] = MATRIX_DIALECTS;
  return text.replace(`enable ${draft!.extension};`, `enable ${dawn!.extension};`).replaceAll(`${draft!.multiply}(`, `${dawn!.multiply}(`);
}

test("matrix: every configuration and dialect compiles, as far as Dawn tells without a device that has them", async () => {
  const adapter = (await nothing.requestAdapter())!;
  const feature = MATRIX_DIALECTS[0]!.feature as GPUFeatureName;
  const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups", feature] });
  const configs: readonly (readonly [MatrixConfig["component"], number, number, number, number])[] = [
    ["f16", 16, 16, 16, 32],
    ["f16", 16, 8, 16, 32],
    ["f16", 16, 8, 8, 32],
    ["f16", 8, 8, 8, 32],
    ["f16", 8, 8, 8, 8],
    ["f16", 8, 16, 16, 16],
    ["f16", 16, 16, 16, 64],
    ["f32", 8, 8, 8, 32],
  ];
  const compiles = async (text: string): Promise<void> => {
    // The module alone: these devices have too little workgroup memory for a pipeline.
    const { messages } = await device.createShaderModule({ code: asDawn(text) }).getCompilationInfo();
    assert.equal(messages.filter(({ type }) => type === "error").map(({ message }) => message), []);
  };
  for (const [component, m, n, k, lanes] of configs) {
    for (const dialect of MATRIX_DIALECTS) {
      const { plan } = matrixCheckKernel({ component, m, n, k }, lanes, dialect);
      const [{ shader, defines }] = plan!(undefined as never).dispatches as [Dispatch];
      await compiles(expandShader(shader, defines));
    }
    for (const structure of MATRIX_STRUCTURES) {
      for (const dialect of MATRIX_DIALECTS) {
        const variant = variantOf(structure, component === "f16", 512);
        const capabilities = { ...GPU, matrixUnits: { configs: [{ component, m, n, k }], lanes, dialect }, gemm: uniformTable(variant) };
        assert.is(whyNot(variant, capabilities), undefined, JSON.stringify([component, m, n, k, lanes, structure]));
        for (const [inner, columns, transposeB] of [[340, 36, false], [340, 36, true], [7, 5, false]] as const) {
          const inputs = { a: f32([9, inner]), b: f32(transposeB ? [columns, inner] : [inner, columns]) };
          const { dispatches } = matmulKernel.plan!({
            inputs,
            outputs: { y: f32([9, columns]) },
            read: { y: true },
            overwrites: false,
            attributes: { transposeB, activation: "none", scale: 1 },
            capabilities,
          });
          for (const { shader, defines } of dispatches) {
            await compiles(expandShader(shader, defines));
          }
        }
      }
    }
  }
  device.destroy();
});

test("a class is told by the op and the size of its result", () => {
  assert.is(gemmClass("matmul", false, 100), "matmul small");
  assert.is(gemmClass("matmul", true, 2 ** 20), "matmul-transposed large");
  assert.is(gemmClass("conv2d-gradient", true, 2 ** 17), "conv2d-gradient medium");
});

test("a device without a choice: broadcast on software with small subgroups, the plain variant elsewhere", () => {
  const base = {
    software: true,
    subgroupSize: 8,
    shaderF16: false,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeInvocationsPerWorkgroup: 256,
    maxStorageBufferBindingSize: 2 ** 27,
  };
  assert.is(defaultStructure(base), "broadcast");
  assert.is(defaultStructure({ ...base, subgroupSize: 0 }), "register");
  assert.is(defaultStructure({ ...base, software: false, subgroupSize: 32 }), "register");
  assert.match(whyNot("broadcast", { ...base, subgroupSize: 32 })!, /has 32/);
  assert.match(whyNot("register-f16", base)!, /shader-f16/);
  assert.match(whyNot("matrix", { ...base, matrixUnits: UNITS })!, /f16 operands only/);
  assert.match(whyNot("matrix-f16", { ...base, shaderF16: true, matrixUnits: UNITS })!, /bytes of workgroup memory/);
  assert.match(whyNot("matrix-f16", { ...base, shaderF16: true })!, /matrix units/);
});

finish();
