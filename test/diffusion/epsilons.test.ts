// The epsilon of every norm of Stable Diffusion 1.4, by its module's path, as the published code has them. Activations of usual size do not
// tell 1e-5 from 1e-6.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Capabilities, f32 } from "../../kernels/kernel.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { Graph } from "../../engine/runtime/graph.ts";

const CAPABILITIES: Capabilities = {
  subgroupSize: 8,
  software: true,
  shaderF16: false,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
};

/** How many norms have each epsilon, by what their module is. */
async function normsOf(
  record: (g: Graph, model: StableDiffusion) => unknown,
  kinds: Readonly<Record<string, RegExp>>,
): Promise<Record<string, number[]>> {
  const device = { capabilities: CAPABILITIES, bufferSharing: true } as unknown as Device;
  const g = new Graph();
  record(g, await loadStableDiffusion(device, { files: nodeFiles, folder: "synthetic:sd14" }, { partial: true }));
  const found: Record<string, Set<number>> = {};
  for (const { kernel, name, attributes } of g.nodes) {
    if (kernel?.name !== "group-norm" && kernel?.name !== "layer-norm") continue;
    const kind = Object.keys(kinds).find((k) => kinds[k]!.test(name)) ?? `unknown: ${name}`;
    (found[kind] ??= new Set()).add((attributes as { epsilon: number }).epsilon);
  }
  return Object.fromEntries(Object.entries(found).map(([kind, epsilons]) => [kind, [...epsilons]]));
}

test("UNet: 1e-6 before a transformer, 1e-5 everywhere else (diffusers, Transformer2DModel and UNet2DConditionModel)", async () => {
  const kinds = {
    transformer: /attentions\.\d+\.norm/,
    "transformer block": /transformer_blocks\.\d+\.norm[123]/,
    resnet: /resnets\.\d+\.norm[12]/,
    last: /conv_norm_out/,
  };
  const found = await normsOf(
    (g, m) => m.recordUNet(g, g.input("x", f32([1, 8, 8, 4])), g.input("features", f32([1, 320])), g.input("context", f32([1, 77, 768]))),
    kinds,
  );
  assert.equal(found, { resnet: [1e-5], transformer: [1e-6], "transformer block": [1e-5], last: [1e-5] });
});

test("VAE: 1e-6 (diffusers, AutoencoderKL)", async () => {
  const record = (g: Graph, m: StableDiffusion): void => {
    m.recordEncoder(g, g.input("image", f32([1, 64, 64, 3])));
    m.recordDecoder(g, g.input("latents", f32([1, 8, 8, 4])));
  };
  assert.equal(await normsOf(record, { any: /norm/ }), { any: [1e-6] });
});

test("text encoder: what its configuration says, 1e-5 (CLIP ViT-L/14)", async () => {
  const record = (g: Graph, m: StableDiffusion): unknown => m.recordTextEncoder(g, g.input("embeddings", f32([1, 77, 768])));
  assert.equal(await normsOf(record, { any: /norm/ }), { any: [1e-5] });
});

test.run();
