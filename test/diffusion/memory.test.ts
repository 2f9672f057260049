import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeEstimate, estimateRun } from "../../engine/diffusion/estimate-run.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { finish, testDevice } from "../support/device.ts";

const source = { files: nodeFiles, folder: "assets/emoji" };
const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};

test("the estimate of a run is what it allocates", async () => {
  const device = await testDevice();
  const model = await loadStableDiffusion(device, source);
  const estimate = estimateRun(model, { width: 64, height: 48, rows: 2, pictures: 1, attackRows: 0 });
  const before = device.usage.allocatedBytes;
  device.resetPeak();
  await model.generate({ prompt: "a church", steps: 2, width: 64, height: 48 });
  const used = device.usage.peakBytes - before;
  const total = estimate.weightBytes + estimate.workingBytes;
  assert.ok(Math.abs(used - total) < 0.05 * total, `estimated ${total}, used ${used}`);
  assert.match(describeEstimate(estimate), /^needs about \d+\.\d MiB of device memory: \d+\.\d MiB of weights, /);
  await model.destroy();
});

test("what does not fit the memory limit is refused before weights are read", async () => {
  const device = await openDevice({ ...adapter, memoryLimit: 4 * 2 ** 20 });
  const model = await loadStableDiffusion(device, source);
  try {
    await model.generate({ prompt: "a church", steps: 2 });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, UsageError);
    assert.match(
      (error as Error).message,
      /not enough memory: .* needs \d+\.\d MiB more .* of whose 4\.0 MiB .* are left; store weights as halves/,
    );
  }
  assert.ok(device.usage.allocatedBytes < 4 * 2 ** 20);
  await model.destroy();
  device.destroy();
});

test("a gradient that does not fit is planned with recompute, to the same bits, and the estimate says what that costs", async () => {
  const noise = { data: Float32Array.from({ length: 4 * 32 * 32 }, (_, i) => Math.sin(i)), shape: [1, 4, 32, 32] };
  const latents = { ...noise, data: noise.data.map((x) => x / 2) };
  const results = [];
  let limit = Infinity;
  for (const way of ["kept", "recomputed"]) {
    const device = await openDevice({ ...adapter, memoryLimit: limit });
    const model = await loadStableDiffusion(device, source);
    const { recomputing } = estimateRun(model, { width: 128, height: 128, rows: 1, pictures: 1, attackRows: 1 });
    assert.is(recomputing !== undefined, way === "recomputed");
    if (recomputing) assert.ok(recomputing.more > 0.1 && recomputing.more < 0.5, `${recomputing.more} more operations`);
    const { loss, gradient } = await model.noiseLoss({ latents, noise, timestep: 500, ids: new Uint32Array(8).fill(7) });
    const { peakBytes, flops } = device.usage;
    assert.ok(peakBytes <= limit);
    results.push({ loss, gradient, peakBytes, flops });
    limit = Math.floor(peakBytes - 2 ** 20);
    await model.destroy();
    device.destroy();
  }
  const [kept, again] = results as [(typeof results)[0], (typeof results)[0]];
  assert.is(again.loss, kept.loss);
  assert.equal(again.gradient.data, kept.gradient.data);
  assert.ok(again.flops > 1.1 * kept.flops && again.flops < 1.5 * kept.flops, `${again.flops} operations, ${kept.flops} without`);
});

test("halves take half of the weights' memory", async () => {
  const device = await testDevice();
  const work = { width: 64, height: 64, rows: 2, pictures: 1, attackRows: 1 };
  const [full, half] = await Promise.all((["f32", "f16"] as const).map(async (weights) => {
    const model = await loadStableDiffusion(device, source, { weights });
    const { weightBytes } = estimateRun(model, work);
    await model.destroy();
    return weightBytes;
  }));
  assert.ok(half! < 0.65 * full!, `${half} of ${full}`); // tables, biases and odd matrices stay as they are
});

finish();
