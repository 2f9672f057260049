// The diffusion classifier's errors against the model's own noise loss, one at a time; its rounds against the published code's; pictures of
// the data set.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DiffusionClassifierOptions, classifyByDiffusion, planStages } from "../../engine/diffusion/diffusion-classifier.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { manualSeed } from "../../engine/runtime/random/random.ts";
import { finish } from "../support/device.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";

const PROMPTS = ["a picture of a fish", "a picture of a church", "a picture of a car", "a picture of a crown"];

test("every stage tries its share of the timesteps, none twice", () => {
  assert.equal(planStages(1000, [{ samples: 10, keep: 1 }]), [[50, 150, 250, 350, 450, 550, 650, 750, 850, 950]]);
  // eval_prob_adaptive.py: of all [25::2] every fifth, from its middle; then the rest.
  const [first, second] = planStages(1000, [{ samples: 4, keep: 5 }, { samples: 20, keep: 1 }]);
  assert.equal(first, [125, 375, 625, 875]);
  assert.equal(second, Array.from({ length: 20 }, (_, i) => 25 + 50 * i).filter((t) => !first!.includes(t)));
});

for (const loss of ["mse", "l1"] as const) {
  test(`errors (${loss}) are the model's own, with the same noises for every prompt; the worst prompts are left out`, async () => {
    const model = await emojiModel();
    const image = await churchTarget(1);
    const options: DiffusionClassifierOptions = {
      prompts: PROMPTS,
      stages: [
        { samples: 2, keep: 2 },
        { samples: 4, keep: 1 },
      ],
      trials: 2,
      loss,
      seed: 5,
      batch: 3,
    };
    const counts: number[] = [];
    const result = await classifyByDiffusion(model, image, { ...options, onProgress: (done, total) => counts.push(done, total) });
    assert.equal(result.timesteps, [375, 375, 875, 875, 125, 125, 625, 625]);
    assert.is(result.predictions, 4 * 4 + 2 * 4);
    assert.equal(counts.slice(-2), [24, 24]);
    assert.equal(result.scores.map((s) => s.errors.length).toSorted(), [4, 4, 8, 8]);
    const latents = await model.encodeImage(image);
    const noises = manualSeed(5).randn([8, 4, 16, 16]);
    for (const { prompt, errors, error, stages } of result.scores) {
      assert.is(stages, errors.length / 4);
      for (const [i, e] of errors.entries()) {
        const noise: NDArray = { data: noises.slice(i * 1024, (i + 1) * 1024) as Float32Array<ArrayBuffer>, shape: [1, 4, 16, 16] };
        const known = await model.noiseLoss({ latents, noise, timestep: result.timesteps[i]!, ids: model.tokenizer.encode(prompt), loss });
        assert.ok(Math.abs(e / known.loss - 1) < 1e-5, `${prompt}, ${i}: ${e} instead of ${known.loss}`);
      }
      assert.ok(Math.abs(error - errors.reduce((a, b) => a + b, 0) / errors.length) < 1e-12);
    }
    const early = result.scores.map((s) => s.errors.slice(0, 4).reduce((a, b) => a + b, 0));
    const kept = [...early.keys()].toSorted((a, b) => early[a]! - early[b]!).slice(0, 2);
    assert.equal(result.scores.flatMap((s, i) => (s.stages === 2 ? [i] : [])), kept.toSorted());
    assert.is(result.index, kept.toSorted((a, b) => result.scores[a]!.error - result.scores[b]!.error)[0]);
    const other = await classifyByDiffusion(model, image, { ...options, batch: 16 });
    assert.is(other.index, result.index);
  });
}

test("a church of the data set is a church", async () => {
  const model = await emojiModel();
  for (const n of [0, 3]) {
    assert.is((await classifyByDiffusion(model, await churchTarget(n), { prompts: PROMPTS, stages: [{ samples: 10, keep: 1 }] })).index, 1);
  }
});

test("bad options are refused", async () => {
  const model = await emojiModel();
  const image = await churchTarget(0);
  const cases: [Partial<DiffusionClassifierOptions>, RegExp][] = [
    [{ prompts: ["a"] }, /at least 2, got 1/],
    [{ prompts: ["a", "b", "a"] }, /"a" twice/],
    [{ stages: [] }, /keep 1 in the last/],
    [{ stages: [{ samples: 5, keep: 2 }] }, /keep 1 in the last/],
    [{ stages: [{ samples: 5, keep: 2 }, { samples: 3, keep: 1 }] }, /more timesteps/],
    [{ stages: [{ samples: 1001, keep: 1 }] }, /samples must be a whole number from 1 to 1000/],
    [{ trials: 0 }, /trials must be/],
    [{ batch: 1.5 }, /batch must be/],
  ];
  for (const [changed, message] of cases) {
    try {
      await classifyByDiffusion(model, image, { prompts: PROMPTS, ...changed });
      assert.unreachable(JSON.stringify(changed));
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as Error).message, message);
    }
  }
});

finish();
