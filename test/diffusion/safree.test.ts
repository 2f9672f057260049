// SAFREE in the sampling loop: the moved encoding for its steps, the prompt's own from then on, against the same steps made by hand.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attack } from "../../engine/attack/run.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { createSamplerPlan, schedulerJsonFor } from "../../engine/diffusion/schedulers/index.ts";
import { denoise } from "../../engine/diffusion/steering/denoise.ts";
import { guided } from "../../engine/diffusion/steering/guided.ts";
import { defendedEncoding, parsePhrases } from "../../engine/diffusion/steering/safree-prompts.ts";
import { SAFREE } from "../../engine/diffusion/steering/safree.ts";
import { switched } from "../../engine/diffusion/steering/switched.ts";
import { tensorToImages } from "../../engine/formats/picture/image.ts";
import { manualSeed } from "../../engine/runtime/random/random.ts";
import { finish } from "../support/device.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";
import { relativeError } from "../support/op-test.ts";

const REQUEST = { prompt: "a picture of a church", seed: 4, steps: 12, scheduler: "ddim" } as const;

test("a picture under SAFREE is the one of its own steps, and not the plain one", async () => {
  const model = await emojiModel();
  const { prompt, seed, steps } = REQUEST;
  const [defended] = await generate(model, { ...REQUEST, safree: "church; chapel" });
  const [plain] = await generate(model, REQUEST);
  assert.ok(relativeError(defended!.array.data, plain!.array.data) > 0.05);
  const early = (await defendedEncoding(model, prompt, "church; chapel"))!;
  assert.ok(early.lastStep >= 0 && early.lastStep <= SAFREE.upTo);
  const [empty, own] = [await model.encodePrompt(""), await model.encodePrompt(prompt)];
  const plan = createSamplerPlan("ddim", schedulerJsonFor("ddim", model.parts.scheduler), steps);
  const shape = [1, 4, 16, 16];
  const latents = await denoise({
    plan,
    start: { data: Float32Array.from(manualSeed(seed).randn(shape)), shape },
    predict: switched(guided(model, empty, early.context, 7.5), guided(model, empty, own, 7.5), early.lastStep + 1),
  });
  const expected = await model.decodeLatents(latents);
  assert.ok(relativeError(defended!.array.data, expected.data) < 1e-3);
});

test("the number of steps is the filter's: with a midpoint out of reach the first step alone is moved", async () => {
  const model = await emojiModel();
  const of = async (midpoint: number): Promise<number> =>
    (await defendedEncoding(model, REQUEST.prompt, "church", { ...SAFREE, midpoint }))!.lastStep;
  assert.equal([await of(100), await of(-100)], [0, SAFREE.upTo]);
  assert.is(await defendedEncoding(model, "", "church"), undefined);
  assert.equal(parsePhrases(" a ;; b c;"), ["a", "b c"]);
});

test("judged pictures of an attack are drawn with it; probes and learned words are refused", async () => {
  const model = await emojiModel();
  const judge = async () => ({ success: false, label: "", score: 0, scores: {} });
  const drawn: Uint8Array[] = [];
  const run = (attacker: "no-attack" | "noise-probe" | "cce", safree: string) =>
    attack(model, { ...REQUEST, attacker, judge, target, safree }, (e) => void (e.type === "evaluation" && drawn.push(e.image.data)));
  const target = await churchTarget(2);
  await run("no-attack", "church");
  const [{ array } = { array: undefined }] = await generate(model, { ...REQUEST, safree: "church" });
  assert.equal(drawn[0], tensorToImages(array!.data, array!.shape)[0]!.data);
  for (const attacker of ["noise-probe", "cce"] as const) {
    const error = await run(attacker, "church").catch((e: unknown) => e);
    assert.match((error as Error).message, new RegExp(`safree is for typed prompts, and ${attacker} searches none`));
  }
  for (const request of [{ safree: " ; " }, { safree: "church", learned: [{ name: "<w>", rows: new Float32Array(128) }] }]) {
    const error = await generate(model, { ...REQUEST, ...request }).catch((e: unknown) => e);
    assert.instance(error, RangeError);
  }
});

finish();
