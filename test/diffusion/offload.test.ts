/** Weights in host memory, sent to the device for each use: the same bits, in the memory that was planned. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { byteLength } from "../../kernels/kernel.ts";
import { describeEstimate, estimateRun, fitRun } from "../../engine/diffusion/estimate-run.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import type { WeightPrecision } from "../../engine/nn/weight-layout.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { planStreams } from "../../engine/runtime/plan/streaming.ts";
import { finish, testDevice } from "../support/device.ts";
import { EOS, TOKENS, tinyXl } from "../support/tiny-xl.ts";

const adapter = process.env.LETHE_ADAPTER ? { adapter: process.env.LETHE_ADAPTER } : {};
const ids = Uint32Array.of(48, 5, 17, 3, EOS, EOS, EOS, EOS);
const latents = { data: hashNumbers("latents", 4 * 256, 0, 1), shape: [1, 4, 16, 16] };
const noise = { data: hashNumbers("noise", 4 * 256, 0, 1), shape: [1, 4, 16, 16] };
const WORK = { width: 32, height: 32, rows: 1, pictures: 1, attackRows: 1 };

/** @param keeps instead of what is planned for the limit */
async function results(weights: WeightPrecision, limit = Infinity, keeps?: (leaf: string, bytes: number) => boolean) {
  const device = await openDevice({ ...adapter, memoryLimit: limit });
  const model = tinyXl(device, weights);
  const estimate = fitRun(model, WORK, limit < Infinity);
  if (keeps) model.keepOnDevice(keeps, planStreams);
  const twice = [];
  for (let i = 0; i < 2; i++) twice.push(await model.noiseLoss({ latents, noise, timestep: 500, ids }));
  const encoding = await model.encodeText(ids);
  const predictions = limit < 2 ** 30 ? [] : [await model.predictNoise(latents, 300, encoding)]; // of a program that is not foreseen
  const image = await model.decodeLatents(latents);
  const { peakBytes } = device.usage;
  await model.destroy();
  device.destroy();
  const losses = twice.flatMap(({ gradient, prediction }) => [gradient, prediction]);
  return { estimate, peakBytes, arrays: [...losses, encoding, image, ...predictions] };
}

for (const weights of ["f32", "f16"] as const) {
  test(`pictures, predictions and gradients with ${weights} weights from host memory are the same, bit for bit`, async () => {
    const plain = await results(weights);
    const streamed = await results(weights, 2 ** 30, () => false);
    const some = await results(weights, 2 ** 30, (_, bytes) => bytes < 4096);
    for (const other of [streamed, some]) {
      other.arrays.forEach(({ data }, i) => assert.equal(data, plain.arrays[i]!.data, `array ${i}`));
    }
    assert.ok(streamed.peakBytes < plain.peakBytes, `${streamed.peakBytes} of ${plain.peakBytes}`);
  });
}

test("a model larger than the limit runs within it, and what is sent is said", async () => {
  const model = tinyXl(await testDevice());
  const whole = estimateRun(model, WORK);
  const limit = Math.floor(0.7 * whole.weightBytes);
  const plain = await results("f32");
  const { estimate, peakBytes, arrays } = await results("f32", limit);
  const { offloading } = estimate;
  assert.ok(offloading && offloading.hostBytes > 0 && offloading.hostBytes < whole.weightBytes);
  assert.ok(estimate.weightBytes + estimate.workingBytes <= limit);
  assert.ok(peakBytes <= limit + 2 ** 16, `${peakBytes} of ${limit}`); // what is read back is staged besides
  arrays.forEach(({ data }, i) => assert.equal(data, plain.arrays[i]!.data));
  assert.match(describeEstimate(estimate, 2 ** 30), /host memory: each iteration sends \d.* to the device, about .* s at the measured 1/);
  await model.destroy();
});

test("a segment's weights fit the window, and every step finds all of its own", async () => {
  const device = await testDevice();
  const model = tinyXl(device);
  const g = new Graph();
  const context = g.input("context", { shape: model.encodingShape(1, TOKENS), dtype: "f32" });
  const sample = g.input("sample", { shape: [1, 16, 16, 4], dtype: "f32" });
  const prediction = model.recordUNet(g, sample, g.input("features", { shape: [1, model.featureWidth], dtype: "f32" }), context);
  const schedule = makeSchedule(g, [prediction], device.capabilities);
  const limit = 4 * 2 ** 20;
  const { segments, windowBytes, bytesPerRun } = planStreams(schedule, () => true, limit);
  assert.ok(segments.length > 3 && windowBytes > 0);
  assert.is(segments.at(-1)!.to, schedule.steps.length);
  let sent = 0;
  segments.forEach(({ from, to, offsets }, i) => {
    assert.is(from, i === 0 ? 0 : segments[i - 1]!.to);
    const ranges = [...offsets].map(([v, offset]) => [offset, offset + byteLength(v.type)] as const).toSorted((a, b) => a[0] - b[0]);
    ranges.forEach(([start, end], j) => assert.ok(start % 256 === 0 && end <= windowBytes && (j === 0 || start >= ranges[j - 1]![1])));
    sent += ranges.reduce((n, [start, end]) => n + end - start, 0);
    for (const { node } of schedule.steps.slice(from, to)) {
      const weights = node.inputs.flatMap((v) => (v ? [schedule.storage(v)] : [])).filter((v) => v.node.leaf?.kind === "parameter");
      for (const v of weights) assert.ok(offsets.has(v), v.name);
    }
  });
  assert.is(sent, bytesPerRun);
  await model.destroy();
});

finish();
