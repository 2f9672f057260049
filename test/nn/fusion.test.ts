import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Capabilities, type Value, f32 } from "../../kernels/kernel.ts";
import { matmulGeglu } from "../../kernels/matmul-geglu.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { planMemory } from "../../engine/runtime/plan/memory-plan.ts";
import { type Schedule, makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { expandShader } from "../../engine/runtime/shader.ts";
import { Layers } from "../../engine/nn/layers.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { tokenTable } from "../../engine/diffusion/text-encoder.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";

const LAVAPIPE: Capabilities = {
  subgroupSize: 8,
  software: true,
  shaderF16: false,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
};
const GPU: Capabilities = { ...LAVAPIPE, subgroupSize: 0, software: false };

/** SD 1.4 as graphs alone. */
function stableDiffusion14(capabilities: Capabilities): Promise<StableDiffusion> {
  const device = { capabilities, bufferSharing: true } as unknown as Device;
  return loadStableDiffusion(device, { files: nodeFiles, folder: "synthetic:sd14" }, { partial: true });
}

/** Its UNet's forward pass for `rows` latents of size x size. */
function passOf(model: StableDiffusion, size: number, rows: number, capabilities: Capabilities): Schedule {
  const g = new Graph();
  const input = (of: string, shape: number[]): Value => g.input(of, f32(shape));
  const prediction = model.recordUNet(
    g,
    input("sample", [rows, size, size, 4]),
    input("features", [rows, 320]),
    input("context", [rows, 77, 768]),
  );
  return makeSchedule(g, [prediction], capabilities);
}

for (const [name, capabilities] of Object.entries({ LAVAPIPE, GPU })) {
  test(`SD 1.4's UNet takes less than 400 dispatches of less than 60 pipelines, and binds nothing too large (${name})`, async () => {
    const model = await stableDiffusion14(capabilities);
    for (const rows of [1, 2]) {
      const schedule = passOf(model, 64, rows, capabilities);
      const dispatches = schedule.steps.flatMap((s) => s.plan.dispatches);
      const merges = dispatches.filter((d) => d.shader.name === "attention-merge").length; // of work that is cut into parts on purpose
      assert.ok(dispatches.length - merges < 400, `${dispatches.length} dispatches, ${merges} of them merge parts`);
      assert.ok(new Set(dispatches.map((d) => expandShader(d.shader, d.defines))).size < 60);
      for (const { type, name: of } of [...schedule.intermediates, ...schedule.leaves.map((n) => n.outputs[0]!)]) {
        assert.ok(type.shape.reduce((a, b) => a * b, 4) <= capabilities.maxStorageBufferBindingSize, `${of} is too large`);
      }
    }
  });
}

test("what a UNet pass of SD 1.4 allocates stays near what is live in it, at every size and batch", async () => {
  const model = await stableDiffusion14(LAVAPIPE);
  for (const [size, rows] of [[8, 1], [32, 1], [64, 1], [96, 1], [64, 2], [64, 8]] as const) {
    const { totalBytes, lowerBound } = planMemory(passOf(model, size, rows, LAVAPIPE).claims);
    assert.ok(totalBytes <= 1.2 * lowerBound, `${size}x${size}, batch ${rows}: ${totalBytes} bytes of ${lowerBound}`);
  }
});

test("the token table's blocks make whole vec4s of a product with them", async () => {
  const { parameters, config } = (await stableDiffusion14(LAVAPIPE)).parts.textEncoder;
  const rows = tokenTable(new Layers(new Graph(), parameters), config).map((block) => block.type.shape[0]!);
  assert.is(rows.length, 2); // 145 MiB of 128
  assert.equal(rows.map((n) => n % 4), [0, 0]);
  assert.is(rows.reduce((a, b) => a + b), config.vocabularySize);
});

test("products are joined as far as a device binds their weights and their outputs", () => {
  const parameters = {
    maxTensorBytes: 4000,
    has: () => true,
    storedShape: () => [],
    value: undefined as never,
    joined: undefined as never,
    gated: undefined as never,
    table: undefined as never,
  };
  const modules = ["a", "b", "c", "d"].map((name) => ({ name, in: 10, out: 40 }));
  const sizes = (rows: number, fused = true): number[] =>
    new Layers(new Graph(), parameters, fused).groups(modules, rows).map((group) => group.length);
  assert.equal(sizes(1), [2, 2]); // weights of 1600 bytes each
  assert.equal(sizes(20), [1, 1, 1, 1]); // outputs of 3200 bytes each
  assert.equal(sizes(1, false), [1, 1, 1, 1]);
});

test("the sums of a gated product are kept for a gradient only", () => {
  const g = new Graph();
  const [a, b, bias] = [g.input("a", f32([3, 8])), g.input("b", f32([8, 24])), g.input("bias", f32([24]))];
  const y = matmulGeglu(g, a, b, bias);
  const forward = makeSchedule(g, [y], LAVAPIPE);
  assert.is(forward.intermediates.length, 0);
  assert.is(forward.steps[0]!.plan.dispatches[0]!.defines["KEEP"], false);
  const both = makeSchedule(g, [y, gradients(g, y, [a], g.input("dy", y.type))[0]!], LAVAPIPE);
  assert.is(both.steps[0]!.plan.dispatches[0]!.defines["KEEP"], true);
  assert.equal(both.intermediates.map((v) => v.type.shape), [[3, 24], [3, 24]]); // the sums and their cotangent
});

test.run();
