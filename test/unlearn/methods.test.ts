import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { type UnlearnEvent, type UnlearnOptions, unlearn } from "../../engine/unlearn/index.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";
import { finish } from "../support/device.ts";

const RETAIN = ["a castle", "a dog", "a bridge"];
const COMMON = { concepts: ["church"], learningRate: 1e-3, steps: 2 } as const;

async function pictures(prompt: string) {
  const all: { image: NDArray; prompt: string }[] = [];
  for (let i = 1; i <= 4; i++) all.push({ image: await churchTarget(i), prompt });
  return all;
}

async function settings(): Promise<UnlearnOptions[]> {
  const images = { concept: await pictures("church"), retain: await pictures("a castle") };
  const anchored = { ...images, concept: await pictures("a castle") };
  return [
    { ...COMMON, method: "esd-x", samplingSteps: 4 },
    { ...COMMON, method: "esd-u", recipe: "esd-2023", samplingSteps: 4 },
    { ...COMMON, method: "esd", recipe: "esd-2023", tensors: "selflayer", samplingSteps: 4 },
    { method: "uce", concepts: ["church", "barn"], anchor: "sky", retain: RETAIN },
    { method: "uce", concepts: ["church"], recipe: "uce-2023", technique: "tensor" },
    { method: "rece", concepts: ["church"], retain: RETAIN },
    { ...COMMON, method: "salun", anchor: "a dog", batch: 2, images },
    { ...COMMON, method: "advunlearn", retain: RETAIN, samplingSteps: 4, attackSteps: 2, attackWarmup: 1, retainBatch: 1 },
    {
      ...COMMON, method: "advunlearn", recipe: "advunlearn-2024-fixed", attack: "fast", retain: RETAIN, samplingSteps: 4, attackSteps: 2,
      attackWarmup: 0, retainBatch: 2, retainMode: "reg", attackTokens: 2,
    },
    {
      ...COMMON, method: "advunlearn", recipe: "advunlearn-lethe", concepts: ["church", "a church"], retain: RETAIN, samplingSteps: 4,
      attackSteps: 2, attackEvery: 2, attackWarmup: 0, retainBatch: 1,
    },
    { ...COMMON, method: "advunlearn", attack: "cce", retain: RETAIN, samplingSteps: 4, attackSteps: 2, attackWarmup: 0, retainBatch: 1 },
    { ...COMMON, method: "concept-ablation", anchor: "castle", batch: 2, images: anchored, priorWeight: 1 },
    { ...COMMON, method: "forget-me-not", batch: 2, images, pooler: "off" },
    { ...COMMON, method: "finetune", batch: 2, accumulate: 2, averageDecay: 0.9, averageWarmup: true, images },
    { ...COMMON, method: "finetune", tensors: "text-encoder", batch: 1, images },
    { ...COMMON, method: "lora", batch: 2, adaptText: true, rank: 2, alpha: 4, images },
  ];
}

const drawn = async (model: StableDiffusionPipeline): Promise<Float32Array> =>
  (await model.generate({ prompt: "church", steps: 2 }))[0]!.array.data;

for (const options of await settings()) {
  const what = [options.method, options.recipe, options.tensors, options.technique].filter(Boolean).join(" ");
  test(`${what}: it changes what it says it does, and not the model it was given`, async () => {
    const base = (await emojiModel()) as StableDiffusionPipeline;
    const before = await drawn(base);
    const steps: number[] = [];
    const result = await unlearn(base, options, (event: UnlearnEvent) => {
      if (event.type !== "step") return;
      steps.push(event.step);
      assert.ok(Object.values(event.losses).every(Number.isFinite), JSON.stringify(event.losses));
    });
    try {
      if (result.loss !== null) assert.equal(steps, [1, 2]);
      const trained = result.trained.flatMap(({ component, tensors }) => tensors.map((name) => `${component} ${name}`));
      assert.equal(result.changed.map(({ component, name }) => `${component} ${name}`), trained);
      for (const { name, shape, read } of result.changed) {
        assert.is((await read()).length, shape.reduce((a, b) => a * b, 1), name);
      }
      assert.not.equal(await drawn(result.model), before, "the erased model draws the same picture");
      assert.equal(await drawn(base), before, "the given model draws another picture");
    } finally {
      await result.destroy();
    }
    assert.equal(await drawn(base), before, "the given model draws another picture after all is freed");
  });
}

test("a step of ESD compares the prediction with e_0 - n (e_p - e_0) of the unchanged model", async () => {
  const base = (await emojiModel()) as StableDiffusionPipeline;
  const seen = new Map<string, NDArray[]>();
  const losses: number[] = [];
  const options = { ...COMMON, method: "esd-x", recipe: "esd-2023", samplingSteps: 4, negativeGuidance: 1.5 } as const;
  const result = await unlearn(base, options, (event) => void (event.type === "step" && losses.push(event.loss)), {
    observe: async (name, read) => void seen.set(name, [...(seen.get(name) ?? []), await read()]),
  });
  await result.destroy();
  for (const [i, loss] of losses.entries()) {
    const [z] = [seen.get("z")![i]!];
    const [t] = seen.get("t")![i]!.data;
    const text = await base.encodeText(base.tokenizer.encode("church"));
    const empty = await base.encodeText(base.tokenizer.encode(""));
    const [p, e] = [await base.predictNoise(z, t!, text), await base.predictNoise(z, t!, empty)];
    const prediction = seen.get("prediction")![i]!.data;
    const expected = prediction.reduce((sum, y, j) => {
      const target = e.data[j]! - 1.5 * (p.data[j]! - e.data[j]!);
      return sum + (y - target) ** 2 / prediction.length;
    }, 0);
    assert.ok(Math.abs(loss - expected) < 1e-4 * expected, `step ${i + 1}: ${loss} instead of ${expected}`);
    if (i === 0) assert.ok(p.data.every((x, j) => Math.abs(x - prediction[j]!) < 1e-4), "the first prediction is the unchanged model's");
  }
});

finish();
