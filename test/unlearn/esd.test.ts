import { test } from "uvu";
import * as assert from "uvu/assert";
import { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { type UnlearnEvent, unlearn } from "../../engine/unlearn/index.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish } from "../support/device.ts";

async function model(): Promise<StableDiffusionPipeline> {
  return (await emojiModel()) as StableDiffusionPipeline;
}

test("ESD-x tells of each step, changes what it trains and nothing else, and leaves the model it was given as it was", async () => {
  const base = await model();
  const before = await base.generate({ prompt: "a church", steps: 2 });
  const steps: number[] = [];
  const losses: number[] = [];
  const options = { method: "esd-x", concepts: ["church"], steps: 6, samplingSteps: 5, learningRate: 1e-3 } as const;
  const result = await unlearn(base, options, (event: UnlearnEvent) => {
    if (event.type !== "step") return;
    steps.push(event.step);
    losses.push(event.loss);
  });
  assert.equal(steps, [1, 2, 3, 4, 5, 6]);
  assert.ok(losses.every(Number.isFinite), losses.join(" "));
  assert.equal(result.changed.map(({ name }) => name).toSorted(), [...result.trained[0]!.tensors].toSorted());
  const after = await base.generate({ prompt: "a church", steps: 2 });
  assert.equal(before[0]!.array.data, after[0]!.array.data);
  const erased = await result.model.generate({ prompt: "a church", steps: 2 });
  assert.not.equal(erased[0]!.array.data, after[0]!.array.data);
  await result.destroy();
});

finish();
