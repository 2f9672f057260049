import { create } from "webgpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formsFor } from "../../kernels/attention-form.ts";
import { uniformAttention } from "../../kernels/attention-table.ts";
import { type Capabilities, elementCount, f32 } from "../../kernels/kernel.ts";
import { expandShader } from "../../engine/runtime/shader.ts";
import { MATRIX_DIALECTS } from "../../kernels/matrix-dialect.ts";
import { type AttentionCase, attentionPlans, attentionWithGradients } from "../support/attention-case.ts";
import { finish, halfDevice } from "../support/device.ts";
import { type OpInput, type OpSpec, checkOp, normals } from "../support/op-test.ts";

const CASES: readonly AttentionCase[] = [
  { name: "77 keys, batch 2", batch: 2, heads: 2, queries: 133, keys: 77, head: 40 },
  { name: "parts of queries", heads: 2, queries: 301, keys: 30, head: 40 },
  { name: "parts of keys", heads: 1, queries: 30, keys: 301, head: 40 },
  { name: "77 tokens, causal", heads: 3, queries: 77, keys: 77, head: 40, causal: true },
  { name: "large scores: largest ones that grow", heads: 2, queries: 150, keys: 200, head: 40, size: 4 },
  { name: "large scores, causal, a negative scale", heads: 2, queries: 130, keys: 130, head: 40, size: 2, causal: true, scale: -0.5 },
  { name: "equal scores", heads: 2, queries: 40, keys: 150, head: 40, size: 0 },
  { name: "two keys, one query", batch: 2, heads: 2, queries: 1, keys: 2, head: 40 },
  { name: "heads of 160, parts of both", heads: 2, queries: 75, keys: 140, head: 160 },
];

/** Numbers that f16 holds, so that what is left of the error is that of probabilities, their gradients and sums. */
function exact({ inputs, ...spec }: OpSpec): OpSpec {
  const rounded = ({ shape, scale = 1 }: OpInput): OpInput => ({
    shape,
    data: normals(elementCount(shape), scale).map((x) => Math.round(64 * x) / 64),
  });
  return { ...spec, inputs: Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, rounded(input)])) };
}

for (const form of ["matrix", "matrix-2"] as const) {
  for (const c of CASES) {
    test(`${form} attention on real units: ${c.name}`, async () => {
      const device = await halfDevice();
      if (!device) return;
      if (!formsFor(device.capabilities).includes(form)) {
        return console.log(`no matrix units of f16 operands on "${device.description}": not run`);
      }
      // Operands are rounded to 11 bits.
      const spec = { ...exact(attentionWithGradients(c, { attention: uniformAttention(form) })), forwardTolerance: 1e-3 };
      await checkOp(spec, device, `attention ${form}`);
    });
  }
}

// Dawn's devices without a driver; kept, because Dawn crashes when this is collected before a device of it.
const nothing = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);

test("matrix attention: every configuration compiles, as far as Dawn tells without a device that has it", async () => {
  const adapter = (await nothing.requestAdapter())!;
  const dialect = MATRIX_DIALECTS[0]!;
  const device = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups", dialect.feature as GPUFeatureName] });
  const base: Capabilities = {
    subgroupSize: 32,
    software: false,
    shaderF16: true,
    maxComputeWorkgroupStorageSize: 49152,
    maxComputeInvocationsPerWorkgroup: 256,
    maxStorageBufferBindingSize: 2 ** 27,
  };
  for (const [m, n, k, lanes] of [
    [16, 16, 16, 32],
    [16, 8, 16, 32],
    [16, 8, 8, 32],
    [8, 8, 8, 32],
    [8, 8, 8, 8],
    [8, 16, 16, 16],
    [16, 16, 16, 64],
  ] as const) {
    const units = { configs: [{ component: "f16" as const, m, n, k }], lanes, dialect: MATRIX_DIALECTS[0]! };
    for (const [head, form] of [
      [40, "matrix"],
      [40, "matrix-2"],
      [64, "matrix-2"],
      [80, "matrix"],
      [80, "matrix-2"],
      [160, "matrix"],
    ] as const) {
      const capabilities: Capabilities = { ...base, matrixUnits: units, attention: uniformAttention(form) };
      const q = f32([1, 256, 2 * head]);
      const attributes = { heads: 2, causal: false, scale: 1 };
      const { dispatches, gradient } = attentionPlans({ q, k: q, v: q }, attributes, capabilities);
      const onUnits = [...dispatches, ...gradient].filter((d) => d.shader.name.startsWith("attention-matrix"));
      assert.is(onUnits.length, head === 160 ? 2 : 3, `${[m, n, k, lanes].join(" ")}, heads of ${head}, ${form}`);
      for (const { shader, defines } of onUnits) {
        // The module alone: these devices have too little workgroup memory for a pipeline.
        const { messages } = await device.createShaderModule({ code: expandShader(shader, defines) }).getCompilationInfo();
        assert.equal(messages.filter((message) => message.type === "error").map((message) => message.message), []);
      }
    }
  }
  device.destroy();
});

finish();
