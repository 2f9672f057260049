/** A small SDXL with made-up weights: gradients through both encoders, what is told of sizes, what is drawn without a negative prompt. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { OneEncoder } from "../../engine/diffusion/model/text-model.ts";
import { xlSettings } from "../../engine/diffusion/model/xl-options.ts";
import { createSamplerPlan, judgedSchedulerJson, schedulerJsonFor } from "../../engine/diffusion/schedulers/index.ts";
import { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { finish, testDevice } from "../support/device.ts";
import { EOS, TOKENS, tinyXl } from "../support/tiny-xl.ts";

const ids = Int32Array.of(48, 5, 17, 3, EOS, EOS, EOS, EOS);
const latents = { data: hashNumbers("latents", 4 * 64, 0, 1), shape: [1, 4, 8, 8] };
const noise = { data: hashNumbers("noise", 4 * 64, 0, 1), shape: [1, 4, 8, 8] };

test("the gradient of the loss through both encoders and the pooled text is its slope, for each encoder's part", async () => {
  const model = tinyXl(await testDevice());
  const width = model.text.tokenWidth;
  assert.is(width, 40);
  const at = hashNumbers("embeddings", TOKENS * width, 0, 0.5);
  const loss = async (data: Float32Array<ArrayBuffer>) =>
    model.noiseLoss({ latents, noise, timestep: 300, ids, embeddings: { data, shape: [1, TOKENS, width] } });
  const { gradient } = await loss(at);
  for (const [from, to] of [[0, 16], [16, 40]] as const) {
    const direction = hashNumbers("direction", at.length, 0, 1).map((x, i) => (i % width >= from && i % width < to ? x : 0));
    const step = 5e-3;
    const [up, down] = await Promise.all([1, -1].map(async (sign) => (await loss(at.map((x, i) => x + sign * step * direction[i]!))).loss));
    const slope = (up! - down!) / (2 * step);
    const expected = direction.reduce((sum, d, i) => sum + d * gradient.data[i]!, 0);
    assert.ok(Math.abs(slope - expected) < 2e-2 * Math.abs(expected) + 1e-5, `encoder of columns ${from} to ${to}: ${slope}, ${expected}`);
  }
  await model.destroy();
});

test("sizes and the pooled text count; padding of the second encoder is its own", async () => {
  const model = tinyXl(await testDevice());
  const encoding = await model.encodeText(ids);
  assert.equal(encoding.shape, [1, TOKENS + 1, 40]);
  const padded = ids.map((id, i) => (i > 4 ? 0 : id));
  assert.equal((await model.encodeText(ids, padded)).data, encoding.data);
  const plain = await model.predictNoise(latents, 300, encoding);
  const far = (other: Float32Array): number => Math.max(...other.map((x, i) => Math.abs(x - plain.data[i]!)));
  const size = { original: [900, 30], crop: [5, 0], target: [16, 16] } as const;
  assert.ok(far((await model.predictNoise(latents, 300, encoding, size)).data) > 1e-5); // the same conditions give the same bits
  assert.is(far((await model.predictNoise(latents, 300, encoding, model.sizesOf(8, 8))).data), 0);
  const deaf = { ...encoding, data: encoding.data.slice().fill(0, TOKENS * 40) };
  assert.ok(far((await model.predictNoise(latents, 300, deaf)).data) > 1e-5); // the same conditions give the same bits
  assert.ok((await model.encodeNoPrompt()).data.every((x) => x === 0));
  await model.destroy();
});

test("options of SDXL are refused for others, and incomplete ones by name", async () => {
  const model = tinyXl(await testDevice());
  const size = [16, 16] as const;
  const { sizes } = xlSettings(model, { prompt: "a" }, size);
  assert.equal(sizes, { original: [16, 16], crop: [0, 0], target: [16, 16] });
  assert.throws(() => xlSettings(model, { prompt: "a", negativePrompt2: "b" }, size), /negativePrompt2 needs a negativePrompt/);
  assert.throws(() => xlSettings(model, { prompt: "a", negativeSizes: { original: [1, 1] } }, size), /need an original and a target size/);
  assert.throws(() => xlSettings(model, { prompt: "a", sizes: { crop: [-1, 0] } }, size), /sizes.crop must be two whole numbers/);
  const { second, ...sd } = model.parts;
  assert.ok(second);
  const other = new StableDiffusion(sd);
  assert.instance(other.text, OneEncoder);
  assert.throws(() => xlSettings(other, { prompt: "a", prompt2: "b" }, size), /prompt2 is of Stable Diffusion XL only/);
  await model.destroy();
});

test("a scheduler's offset is the file's own; that of Stable Diffusion 1 and 2 is 1, whatever the file says", () => {
  const json = { beta_start: 0.00085, beta_end: 0.012, timestep_spacing: "leading", steps_offset: 3 };
  const last = (isXl: boolean): number => createSamplerPlan("euler", schedulerJsonFor("euler", json, isXl), 4).steps.at(-1)!.timestep;
  assert.equal([last(true), last(false)], [3, 1]);
  assert.equal(judgedSchedulerJson("ddim", { parts: { scheduler: json }, isXl: true }), json);
});

finish();
