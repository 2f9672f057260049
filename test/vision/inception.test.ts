/** Both Inception networks with hashed weights against torchvision 0.14 and pytorch-fid 0.3.0: norms and sums of what they gave. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { transformInput } from "../../engine/metrics/recipes.ts";
import { toChannelsLast } from "../../engine/nn/array.ts";
import { INCEPTION_DIMS, type InceptionVariant } from "../../engine/vision/inception.ts";
import { Inception, inceptionTensors, loadInception } from "../../engine/vision/inception-model.ts";
import { hashedInception } from "../../engine/verify/forms/metrics/hashed-inception.ts";
import { finish, testDevice } from "../support/device.ts";

const SHAPE = [1, 3, 299, 299];
/** 2 x - 1 of numbers in [0, 1). */
const unit = hashNumbers("golden.inception", 3 * 299 * 299, 0.5, 1 / Math.sqrt(12));
const input = toChannelsLast({ data: unit, shape: SHAPE }).map((x) => 2 * x - 1);

/** Norm, the sum of value i times cos(i), and the first four values. */
const EXPECTED: Readonly<Record<string, readonly number[]>> = {
  "fid 64": [9.605321873873457, -1.7076357117936483, 1.837074, 1.9927797, 1.2625126, 1.2492155],
  "fid 192": [25.974119801944127, -2.821594685484018, 2.0969698, 1.1535221, 1.2780392, 2.928098],
  "fid 768": [131.22436506781597, -14.033030533380776, 5.893024, 1.0877082, 0, 10.6577044],
  "fid 2048": [372.4055877456457, -322.7979985014571, 12.828742, 2.5844567, 25.2997913, 6.8051057],
  "torchvision 2048": [184.51415470738593, -155.7778014501183, 5.9350986, 1.8916944, 13.8773441, 3.3977056],
  "torchvision logits": [197.322622502838, 16.60437257646997, -2.648344, -6.1834288, -14.5363474, 2.830339],
};

function check(name: string, data: Float32Array): void {
  const norm = Math.hypot(...data);
  const sum = data.reduce((total, x, i) => total + x * Math.cos(i), 0);
  [norm, sum, ...data.subarray(0, 4)].forEach((x, i) => {
    const expected = EXPECTED[name]![i]!;
    // A sum of many is off by what its parts are off, so it is judged by the norm.
    const size = i === 0 ? norm : i === 1 ? norm * Math.sqrt(data.length) : Math.max(1, Math.abs(expected));
    assert.ok(Math.abs(x - expected) <= 1e-5 * size, `${name} ${i}: ${x}, expected ${expected}`);
  });
}

async function network(variant: InceptionVariant): Promise<Inception> {
  return new Inception(await testDevice(), variant, hashedInception(variant, 1.5));
}

test("FID's: features of every width, and the same for each picture of a batch", async () => {
  const fid = await network("fid");
  for (const dims of INCEPTION_DIMS) check(`fid ${dims}`, await fid.features(input, dims));
  const batch = new Float32Array(3 * input.length);
  for (const i of [0, 2]) batch.set(input, i * input.length);
  const three = await fid.features(batch, 64);
  check("fid 64", three.slice(0, 64));
  check("fid 64", three.slice(128));
  await fid.destroy();
});

test("torchvision's: padding counts in its averages; features and logits", async () => {
  const torchvision = await network("torchvision");
  const moved = transformInput(input);
  check("torchvision 2048", await torchvision.features(moved, 2048));
  check("torchvision logits", await torchvision.logits(moved));
  await torchvision.destroy();
});

test("a file of other weights is refused, naming what the recipe needs", async () => {
  const device = await testDevice();
  type Change = (name: string, shape: readonly number[]) => readonly number[] | undefined;
  const file = (variant: InceptionVariant, change: Change): Uint8Array => {
    const tensors = [...inceptionTensors(variant)].flatMap(([name, shape]) => {
      const kept = change(name, shape);
      if (!kept) return [];
      const data = new Uint16Array(kept.reduce((a, b) => a * b, 1));
      return [[name, { dtype: "F16" as const, shape: [...kept], data }] as const];
    });
    return encodeSafetensors("w", Object.fromEntries(tensors), {});
  };
  const cases: [InceptionVariant, Uint8Array, RegExp][] = [
    ["fid", file("torchvision", (_, shape) => shape), /Inception v3 with 1000 classes.*needs Inception v3 as in pt_inception-2015-12-05/],
    [
      "fid",
      file("fid", (name, shape) => (name.startsWith("Mixed_6c.branch7x7_2.bn") ? undefined : shape)),
      /no tensor "Mixed_6c.branch7x7_2/,
    ],
    ["torchvision", file("torchvision", (name, shape) => (name === "fc.bias" ? [999] : shape)), /"fc.bias" has shape \[999\], not \[1000/],
  ];
  for (const [variant, bytes, why] of cases) {
    await loadInception(device, { files: memoryFiles({ w: bytes }), path: "w" }, { variant }).then(
      () => assert.unreachable(String(why)),
      (error: unknown) => assert.match((error as Error).message, why),
    );
  }
});

finish();
