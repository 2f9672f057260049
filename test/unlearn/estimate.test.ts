import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { unlearn } from "../../engine/unlearn/index.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish, testDevice } from "../support/device.ts";

const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};

test("what a run takes is within a quarter of its estimate", async () => {
  const device = await testDevice();
  const model = (await emojiModel({})) as StableDiffusionPipeline;
  const before = device.usage.allocatedBytes;
  device.resetPeak();
  let expected = 0;
  const result = await unlearn(model, { method: "esd-u", concepts: ["church"], steps: 2, samplingSteps: 4 }, (event) => {
    if (event.type === "estimate") expected = event.estimate.modelBytes + event.estimate.trainedBytes + event.estimate.workingBytes;
  });
  const used = device.usage.peakBytes - before;
  console.log(`${used} bytes used, ${expected} estimated`);
  assert.ok(Math.abs(used / expected - 1) < 0.25, `${used} bytes used, ${expected} estimated`);
  await result.destroy();
  await model.destroy();
});

test("a run that cannot fit is refused", async () => {
  const device = await openDevice({ ...adapter, memoryLimit: 24 * 2 ** 20 });
  const model = await loadStableDiffusion(device, { files: nodeFiles, folder: "assets/emoji" });
  try {
    await unlearn(model, { method: "esd-u", concepts: ["church"], steps: 1 });
    assert.unreachable("it was not refused");
  } catch (error) {
    assert.instance(error, UsageError);
    assert.match((error as Error).message, /^not enough memory/);
  }
  await model.destroy();
  device.destroy();
});

finish();
