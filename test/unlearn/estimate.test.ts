import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles, readBytes } from "../../engine/platform/node-files.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type UnlearnOptions, describeUnlearnEstimate, estimateUnlearn, resolveUnlearn, unlearn } from "../../engine/unlearn/index.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish, testDevice } from "../support/device.ts";

const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};
const GB = 1e9;

/** Stable Diffusion 1.4 at its real size, planned and not computed: no weight is read, nothing is allocated. */
async function sd14(): Promise<StableDiffusionPipeline> {
  const clipMerges = () => readBytes("assets/clip/bpe_simple_vocab_16e6.txt.gz");
  const device = await openDevice({ ...adapter, memoryLimit: 64 * 2 ** 30 });
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
