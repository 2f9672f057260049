import { test } from "uvu";
import * as assert from "uvu/assert";
import { f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { describeEstimate, estimateRun } from "../../engine/diffusion/estimate-run.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import type { WeightPrecision } from "../../engine/nn/weight-layout.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { Trainer } from "../../engine/train/trainer.ts";
import { finish, testDevice } from "../support/device.ts";

// Stable Diffusion 1.4 at its real size, planned and not computed: no weight is read, nothing is allocated.
const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};
const GB = 1e9;

function sd14(device: Parameters<typeof loadStableDiffusion>[0], weights: WeightPrecision): Promise<StableDiffusion> {
  return loadStableDiffusion(device, { files: nodeFiles, folder: "synthetic:sd14" }, { partial: true, weights });
}

test("a step of training all of the UNet in float32 takes less than 12.5 GB", async () => {
  const model = await sd14(await testDevice(), "f32");
  const { config } = model.parts.unet;
  const estimate = (recomputes: boolean) =>
    Trainer.estimate(model, {
      name: "full size",
      decay: "decoupled",
      trains: (_tensor, component) => component === "unet",
      record(g) {
        const noised = g.input("noised", f32([1, 64, 64, config.inChannels]));
        const context = g.input("context", f32([1, 77, config.crossAttentionDim]));
        const prediction = model.recordUNet(g, noised, g.input("features", f32([1, model.featureWidth])), context);
        return { loss: mseLoss(g, prediction, g.input("target", noised.type)) };
      },
    }, recomputes);
  const [kept, again] = [estimate(false), estimate(true)];
  const bytes = [kept, again].map((e) => e.weightBytes + e.ownBytes + e.buffers.reduce((a, b) => a + b, 0));
  const [all, recomputed, weights] = [...bytes, kept.weightBytes].map((b) => `${(b / GB).toFixed(2)} GB`);
  console.log(`${all}, with recompute ${recomputed}, of which ${weights} are weights and moments`);
  assert.ok(Math.abs(kept.weightBytes / (3 * 4 * 859_520_964) - 1) < 1e-3, `${kept.weightBytes} bytes of weights and two moments`);
  assert.ok(bytes[0]! < 12.5 * GB && bytes[1]! < 11.2 * GB, bytes.join(" "));
  await model.destroy();
});

test("an attack within 3 GiB is planned with recompute, and the estimate says so", async () => {
  const device = await openDevice({ ...adapter, memoryLimit: 3 * 2 ** 30 });
  const model = await sd14(device, "f16");
  const estimate = estimateRun(model, { width: 512, height: 512, rows: 2, pictures: 1, attackRows: 1 });
  assert.ok(estimate.recomputing && estimate.recomputing.more > 0.2 && estimate.recomputing.more < 0.3, JSON.stringify(estimate));
  assert.ok(estimate.weightBytes + estimate.workingBytes <= device.memoryLimit, `${estimate.weightBytes + estimate.workingBytes}`);
  assert.match(describeEstimate(estimate), /; to stay within 3\.0 GiB, .* forward pass twice, which is 2\d% more operations$/);
  const roomy = estimateRun(await sd14(await testDevice(), "f16"), { width: 512, height: 512, rows: 2, pictures: 1, attackRows: 0 });
  assert.is(roomy.recomputing, undefined);
  await model.destroy();
  device.destroy();
});

finish();
