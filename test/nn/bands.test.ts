import { test } from "uvu";
import * as assert from "uvu/assert";
import { groupNormParts } from "../../kernels/group-norm-parts.ts";
import { slice } from "../../kernels/slice.ts";
import { Layers } from "../../engine/nn/layers.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { lookup } from "../../engine/nn/leaf-store.ts";
import { vaeDecode, vaeEncode } from "../../engine/diffusion/vae.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { Program } from "../../engine/runtime/program.ts";
import { byteLength, f32 } from "../../kernels/kernel.ts";
import { finish, testDevice } from "../support/device.ts";
import { checkOp, normals, relativeError } from "../support/op-test.ts";
import { groupNorm64 } from "../../engine/verify/self-test/reference/norm.ts";

// Of nearly equal numbers epsilon decides.
for (const spread of [1, 0.001]) {
  test(`group norm of a picture in three uneven parts is that of the whole, deviations of about ${spread}`, () =>
    checkOp({
      name: "groupNormParts",
      inputs: { x: { shape: [2, 7, 5, 12], scale: spread }, gamma: { shape: [12] }, beta: { shape: [12] } },
      build(g, { x, gamma, beta }) {
        const parts = [slice(g, x!, 0, 3, 1), slice(g, x!, 3, 3, 1), slice(g, x!, 6, 1, 1)];
        return groupNormParts(g, parts, gamma!, beta!, { groups: 4, epsilon: 1e-6, silu: true });
      },
      reference({ x, gamma, beta }) {
        const whole = groupNorm64(x!, gamma!, beta!, { groups: 4, epsilon: 1e-6, silu: true });
        return [[0, 3], [3, 6], [6, 7]].map(([from, to]) => rows64(whole, from!, to!));
      },
    }));
}

function rows64(x: { shape: readonly number[]; data: Float64Array }, from: number, to: number): { shape: number[]; data: Float64Array } {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const perRow = width * channels;
  const data = new Float64Array(batch * (to - from) * perRow);
  for (let b = 0; b < batch; b++) {
    data.set(x.data.subarray((b * height + from) * perRow, (b * height + to) * perRow), b * (to - from) * perRow);
  }
  return { shape: [batch, to - from, width, channels], data };
}

test("the VAE in bands of rows gives what it gives in one piece, and no tensor is over the limit", async () => {
  const device = await testDevice();
  const model = await loadStableDiffusion(device, { files: nodeFiles, folder: "assets/emoji" });
  const { config, parameters } = model.parts.vae;
  const latents = normals(8 * 12 * 4);
  const image = normals(48 * 64 * 3, 0.5);
  const run = async (limit: number): Promise<{ read: Record<string, ArrayLike<number>>; largest: number }> => {
    const g = new Graph();
    const layers = new Layers(g, parameters);
    const decoded = vaeDecode(layers, config, g.input("latents", f32([1, 8, 12, 4])), limit);
    const { mean, logvar } = vaeEncode(layers, config, g.input("image", f32([1, 48, 64, 3])), limit);
    await parameters.load();
    const program = await Program.create(device, g, { outputs: { decoded, mean, logvar }, parameters: lookup(parameters), poison: true });
    await program.run({ latents, image });
    const read = await program.read();
    const largest = Math.max(...program.nodes.flatMap((n) => n.outputs.map((v) => byteLength(v.type))));
    program.destroy();
    return { read, largest };
  };
  const whole = await run(Infinity);
  for (const limit of [100_000, 56_000]) {
    const banded = await run(limit);
    assert.ok(banded.largest <= limit, `${banded.largest} bytes for a limit of ${limit}`);
    assert.ok(whole.largest > limit);
    for (const name of ["decoded", "mean", "logvar"]) {
      const error = relativeError(banded.read[name]!, whole.read[name]!);
      assert.ok(error < 5e-6, `${name} in bands of ${limit} bytes is off by ${error}`);
    }
  }
  await model.destroy();
});

finish();
