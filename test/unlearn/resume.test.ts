import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import type { WeightSource } from "../../engine/nn/parameters.ts";
import { DivergedError, type ResumedTraining, type SavedTraining, type UnlearnOptions, unlearn } from "../../engine/unlearn/index.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";
import { finish } from "../support/device.ts";

const RETAIN = ["a castle", "a dog"];

/** @param weights "f16": masters and moments are float32, the model reads halves */
async function base(weights?: "f16"): Promise<StableDiffusionPipeline> {
  return (await emojiModel(weights && { weights })) as StableDiffusionPipeline;
}

/** A state as a file would hold it. */
async function stored({ step, json, tensors }: SavedTraining): Promise<ResumedTraining> {
  const numbers = new Map<string, { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>();
  for (const { name, shape, read } of tensors) numbers.set(name, { shape, data: (await read()).slice() });
  const source: WeightSource = {
    name: "state",
    names: () => numbers.keys(),
    shape: (tensor) => numbers.get(tensor)?.shape,
    readFloat32: (tensor) => Promise.resolve(numbers.get(tensor)!.data),
  };
  return { step, json: JSON.parse(JSON.stringify(json)) as unknown, tensors: source };
}

async function weightsOf(model: StableDiffusionPipeline, options: UnlearnOptions): Promise<Map<string, Float32Array>> {
  const result = await unlearn(model, options);
  const weights = new Map<string, Float32Array>();
  for (const { name, read } of result.changed) weights.set(name, (await read()).slice());
  await result.destroy();
  return weights;
}

interface Example {
  readonly name: string;
  readonly weights?: "f16";
  readonly options: UnlearnOptions;
}

async function examples(): Promise<Example[]> {
  const concept = [];
  for (let i = 1; i <= 4; i++) concept.push({ image: await churchTarget(i), prompt: "church" });
  const common = { concepts: ["church"], learningRate: 1e-3, steps: 5, seed: 3 } as const;
  const esd = { ...common, method: "esd-x", samplingSteps: 4, schedule: "cosine", warmupSteps: 2 } as const;
  const inner = { attackSteps: 2, attackWarmup: 0, attackTokens: 2 };
  const adversarial = { ...common, method: "advunlearn", retain: RETAIN, samplingSteps: 4, retainBatch: 1, ...inner } as const;
  // The first step is of the warm-up, so that the first state, of step 2, is of one attack that was begun; two concepts take turns.
  const own = { ...adversarial, recipe: "advunlearn-lethe", attackWarmup: 1, concepts: ["church", "a church"] } as const;
  return [
    { name: "esd-x", options: esd },
    { name: "esd-x of f16 weights", weights: "f16", options: esd },
    { name: "advunlearn", options: adversarial },
    { name: "advunlearn with text-grad inside", options: { ...own, attack: "text-grad" } },
    { name: "advunlearn with cce inside", options: { ...own, attack: "cce" } },
    { name: "finetune", options: { ...common, method: "finetune", batch: 2, accumulate: 2, averageDecay: 0.9, images: { concept } } },
    { name: "lora", options: { ...common, method: "lora", batch: 2, adaptText: true, rank: 2, images: { concept } } },
  ];
}

for (const { name: example, weights, options } of await examples()) {
  test(`${example}: a training that goes on from a state ends bit by bit where one without a stop does`, async () => {
    const model = await base(weights);
    const states: ResumedTraining[] = [];
    const whole = await weightsOf(model, { ...options, state: { every: 2, save: async (state) => void states.push(await stored(state)) } });
    assert.equal(states.map(({ step }) => step), [2, 4, 5]);
    for (const resume of states.slice(0, 2)) {
      const again = await weightsOf(model, { ...options, resume });
      assert.equal([...again.keys()], [...whole.keys()]);
      for (const [name, data] of whole) assert.equal(again.get(name), data, `${name} after going on from step ${resume.step}`);
    }
  });
}

test("a training that diverges ends with one sentence, after a state that is good", async () => {
  const steps: number[] = [];
  const options: UnlearnOptions = {
    method: "esd-x", concepts: ["church"], steps: 40, samplingSteps: 3, learningRate: 1e30,
    state: {
      every: 1,
      save: async (state) => {
        await stored(state);
        steps.push(state.step);
      },
    },
  };
  try {
    await unlearn(await base(), options);
    assert.unreachable("it ended well");
  } catch (error) {
    assert.instance(error, DivergedError);
    assert.match((error as Error).message, /smaller learning rate$/);
  }
  assert.ok(steps.length < 40, steps.join(" "));
});

const WRONG: readonly (readonly [UnlearnOptions, RegExp])[] = [
  [{ method: "esd-x", concepts: [" "] }, /concept " " has no token/],
  [{ method: "esd-x", concepts: [] }, /no concept is given/],
  [{ method: "esd-x", concepts: ["church ".repeat(100)] }, /has 100 tokens; the text encoder takes \d+/],
  [
    { method: "esd-x", concepts: ["church"], recipe: "uce-2023" },
    /recipe "uce-2023" is not one of esd-x; choose one of esd-2025, esd-xl-2025, esd-2023/,
  ],
  [{ method: "esd-x", concepts: ["church"], recipe: "esd-2024" as never }, /"esd-2024" is not one of esd-x/],
  [{ method: "esd-y" as never, concepts: ["church"] }, /method "esd-y" is not known/],
  [{ method: "esd-x", concepts: ["church"], rank: 4 }, /rank is an option of lora, not of esd-x/],
  [{ method: "esd", concepts: ["church"], tensors: "xattn" }, /tensors "xattn" is not of recipe esd-2025/],
  [{ method: "esd", concepts: ["church"], recipe: "esd-2023", tensors: "xlayer" }, /tensors "xlayer" are none of this model's/],
  [{ method: "esd-x", concepts: ["church"], guidance: 0.5 }, /guidance must be at least 1/],
  [{ method: "uce", concepts: ["church"], anchors: ["sky", "sea"] }, /2 anchors are given for 1 concepts/],
  [{ method: "uce", concepts: ["church"], lamb: 0 }, /lamb must be a number above 0/],
  [{ method: "salun", concepts: ["church"], retain: RETAIN }, /salun needs an anchor/],
  [{ method: "salun", concepts: ["church"], anchor: "dog" }, /salun needs retained prompts/],
  [{ method: "advunlearn", concepts: ["church"] }, /advunlearn needs retained prompts/],
  [{ method: "concept-ablation", concepts: ["church"] }, /concept-ablation needs an anchor/],
  [{ method: "finetune", concepts: ["church"], images: { concept: [] } }, /0 concept pictures are too few for a batch of 4/],
];

for (const [options, message] of WRONG) {
  test(`refused: ${message.source}`, async () => {
    try {
      await unlearn(await base(), options);
      assert.unreachable("it was not refused");
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as Error).message, message);
    }
  });
}

finish();
