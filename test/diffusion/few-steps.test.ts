/** SDXL-Turbo's and SDXL-Lightning's settings: the latents after every step are those of diffusers' pipeline. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Sampler } from "../../engine/diffusion/sampler.ts";
import { createSamplerPlan, schedulerNameOf } from "../../engine/diffusion/schedulers/index.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { finish, testDevice } from "../support/device.ts";
import { relativeError } from "../support/op-test.ts";
import { tinyXl } from "../support/tiny-xl.ts";
import { SCHEDULE, floats, reference } from "../support/xl-reference.ts";

const SHAPE = [1, 4, 4, 4] as const;

for (const { name, class: className, prediction, timesteps, latents } of reference.samples) {
  for (const guidance of [0, 1]) {
    test(`${name} steps, trailing, predicting ${prediction}, guidance ${guidance}`, async () => {
      const model = tinyXl(await testDevice());
      const config = { ...SCHEDULE, timestep_spacing: "trailing", prediction_type: prediction };
      const plan = createSamplerPlan(schedulerNameOf(className), config, timesteps.length);
      assert.equal(plan.steps.map(({ timestep }) => timestep), timesteps);
      const context = await model.encodePrompt(reference.prompt.join(" "));
      const sampler = Sampler.for(model, { batch: 1, height: 4, width: 4, length: context.shape[1]!, guidance });
      const errors: number[] = [];
      let drawn = 0;
      await sampler.run({
        context,
        unconditional: await model.encodeNoPrompt(),
        noise: { data: hashNumbers(`${name} start`, 64, 0, 1), shape: SHAPE },
        plan,
        drawNoise: () => hashNumbers(`${name} noise ${drawn++}`, 64, 0, 1),
        onStep: async (_step, _steps, read) => void errors.push(relativeError((await read()).data, floats(latents[errors.length]!))),
      });
      assert.is(errors.length, timesteps.length);
      assert.ok(errors.every((error) => error < 1e-5), errors.map((error) => error.toExponential(1)).join(" "));
      await model.destroy();
    });
  }
}

finish();
