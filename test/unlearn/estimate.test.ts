import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles, readBytes } from "../../engine/platform/node-files.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { planStreams } from "../../engine/runtime/plan/streaming.ts";
import {
  type UnlearnEstimate, type UnlearnOptions, describeUnlearnEstimate, estimateUnlearn, resolveUnlearn, unlearn,
} from "../../engine/unlearn/index.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish, testDevice } from "../support/device.ts";

const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};
const GB = 1e9;

/** Stable Diffusion 1.4 at its real size, planned and not computed: no weight is read, nothing is allocated. */
async function sd14(memoryLimit = 64 * 2 ** 30): Promise<StableDiffusionPipeline> {
  const clipMerges = () => readBytes("assets/clip/bpe_simple_vocab_16e6.txt.gz");
  const device = await openDevice({ ...adapter, memoryLimit });
  return loadStableDiffusion(device, { files: nodeFiles, folder: "synthetic:sd14", clipMerges }, { partial: true });
}

const SIZES: readonly (readonly [UnlearnOptions, number, number])[] = [
  [{ method: "esd-x", concepts: ["church"] }, 4.5, 6.5],
  [{ method: "finetune", concepts: ["church"], batch: 1, clip: 1e9 }, 10, 16.5],
  [{ method: "advunlearn", concepts: ["church"], retain: ["a dog"], retainBatch: 1 }, 4.5, 6.5],
  [{ method: "uce", concepts: ["church"] }, 0.4, 1],
];

for (const [options, least, most] of SIZES) {
  test(`${options.method} of Stable Diffusion 1.4 in float32 is estimated between ${least} and ${most} GB`, async () => {
    const model = await sd14();
    const estimate = estimateUnlearn(model, resolveUnlearn(model, options));
    const bytes = estimate.weightBytes + estimate.workingBytes;
    console.log(`${options.method}: ${describeUnlearnEstimate(estimate)}`);
    assert.ok(bytes > least * GB && bytes < most * GB, `${bytes / GB} GB`);
    await model.destroy();
    model.device.destroy();
  });
}

const WHOLE: readonly (readonly [name: string, UnlearnOptions, sentGB: number])[] = [
  ["esd-u, whose trajectories are drawn by the unchanged model", { method: "esd-u", concepts: ["church"] }, 70],
  ["esd-u, whose trajectories are drawn by the trained one", { method: "esd-u", recipe: "esd-2023", concepts: ["church"] }, 3],
  ["plain training without clipping", { method: "finetune", concepts: ["church"], tensors: "full", batch: 1, clip: 0 }, 0],
];

for (const [name, options, sentGB] of WHOLE) {
  test(`the whole UNet of Stable Diffusion 1.4 is trained in float32 within 12.5 GB: ${name}`, async () => {
    const limit = 12.5 * GB;
    const model = await sd14(limit);
    model.keepOnDevice(() => true, planStreams);
    const { weightBytes, workingBytes, offloading } = estimateUnlearn(model, resolveUnlearn(model, options));
    assert.ok(weightBytes > 9 * GB && weightBytes + workingBytes <= limit, `${weightBytes} + ${workingBytes}`);
    const sent = (offloading?.bytesPerStep ?? 0) / GB;
    assert.ok(sent <= sentGB && sent >= 0.5 * sentGB, `${sent} GB sent`);
    await model.destroy();
    model.device.destroy();
  });
}

test("what a run takes is within a fifth of its estimate", async () => {
  const device = await testDevice();
  const model = (await emojiModel({})) as StableDiffusionPipeline;
  const options = { method: "esd-u", concepts: ["church"], steps: 2, samplingSteps: 4 } as const;
  const estimate = estimateUnlearn(model, resolveUnlearn(model, options));
  const before = device.usage.allocatedBytes;
  device.resetPeak();
  const result = await unlearn(model, options);
  const [used, expected] = [device.usage.peakBytes - before, estimate.weightBytes + estimate.workingBytes];
  console.log(`${used} bytes used, ${expected} estimated`);
  assert.ok(Math.abs(used / expected - 1) < 0.2, `${used} bytes used, ${expected} estimated`);
  await result.destroy();
  await model.destroy();
});

for (const weights of ["f32", "f16"] as const) {
  test(`weights that are not trained stay in host memory where the limit asks for it: the same bits, ${weights}`, async () => {
    const trained = async (limit?: number) => {
      const device = await openDevice({ ...adapter, ...(limit !== undefined && { memoryLimit: limit }) });
      const model = await loadStableDiffusion(device, { files: nodeFiles, folder: "assets/emoji" }, { weights });
      if (limit !== undefined) model.keepOnDevice(() => true, planStreams);
      const arrays: { name: string; data: Float32Array | Uint8Array }[] = [];
      const draw = async (step: number, of: StableDiffusionPipeline): Promise<void> => {
        const [picture] = await of.generate({ prompt: "a church", steps: 2, seed: 1 });
        arrays.push({ name: `picture after step ${step}`, data: picture!.image.data });
      };
      const pauses = [{ every: 1, at: draw }];
      const options = { method: "esd-u", concepts: ["church"], steps: 2, samplingSteps: 4, pauses } as const;
      let estimate: UnlearnEstimate | undefined;
      const result = await unlearn(model, options, async (event) => {
        if (event.type !== "estimate") return;
        ({ estimate } = event);
        await draw(0, model);
      });
      const { peakBytes } = device.usage;
      for (const { name, read } of result.changed) arrays.push({ name, data: await read() });
      // Whoever erases goes on with both: the erased model draws, and so does the model as it was.
      const context = await result.model.encodePrompt("a church");
      const latents = { data: new Float32Array(4 * 256).fill(0.5), shape: [1, 4, 16, 16] };
      for (const one of [result.model, model]) {
        arrays.push({ name: "prediction", data: (await one.predictNoise(latents, 300, context)).data });
      }
      await result.destroy();
      await model.destroy();
      device.destroy();
      return { peakBytes, arrays, estimate: estimate! };
    };
    const plain = await trained();
    const bytes = plain.estimate.weightBytes + plain.estimate.workingBytes;
    const limit = Math.floor(0.9 * bytes);
    const { peakBytes, arrays, estimate } = await trained(limit);
    assert.ok(estimate.recomputes && estimate.offloading && estimate.offloading.hostBytes > 0.05 * bytes);
    assert.ok(estimate.weightBytes + estimate.workingBytes <= limit);
    assert.ok(peakBytes <= limit + 2 ** 16, `${peakBytes} of ${limit}`);
    assert.match(describeUnlearnEstimate(estimate), /of weights stay in host memory: a step sends \d.* to the device/);
    assert.ok(arrays.length > 100);
    arrays.forEach(({ name, data }, i) => assert.equal(data, plain.arrays[i]!.data, name));
  });
}

test("a run that cannot fit is refused before it begins", async () => {
  const device = await openDevice({ ...adapter, memoryLimit: 8 * 2 ** 20 });
  const model = await loadStableDiffusion(device, { files: nodeFiles, folder: "assets/emoji" });
  try {
    await unlearn(model, { method: "esd-u", concepts: ["church"], steps: 1 });
    assert.unreachable("it was not refused");
  } catch (error) {
    assert.instance(error, UsageError);
    assert.match((error as Error).message, /esd-u needs .* of device memory, the limit is 8\.0 MiB/);
  }
  await model.destroy();
  device.destroy();
});

finish();
