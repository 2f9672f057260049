import { createNoisyPlan, schedulerJsonFor } from "../../../diffusion/schedulers/index.ts";
import { LatentClassifier, classifierGuided, logLikelihoodGradient } from "../../../diffusion/steering/latent-classifier.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Form } from "../../check.ts";
import { Subject, latentsBefore, slab, stepsOf, unetField } from "./subject.ts";

/** `latent_classifier`: DDIM guided by the gradient of a small classifier on the noisy latents. */
export const latentClassifier: Form = async (check) => {
  const subject = await Subject.of(check, unetField(check.golden));
  const { model, golden, tolerances } = subject;
  const weights = new Map<string, NDArray>();
  for (const name of golden.namesAfter("w.")) weights.set(name, await golden.array(`w.${name}`));
  const classifier = LatentClassifier.of(await subject.context.device(), weights);
  try {
    const predict = await subject.guidedBy("prompt");
    await subject.cases("", async (c) => {
      const plan = createNoisyPlan(schedulerJsonFor("ddim", model.parts.scheduler), golden.number("steps"), golden.number("eta", c), 1);
      const start = await golden.array("init");
      const z = await golden.floats("z");
      let drawn = 0;
      const logits: number[] = [];
      const scale = golden.number("scale", c);
      const moved = classifierGuided(predict, classifier, model.alphasCumprod, scale, (_g, logit) => void logits.push(logit));
      const steps = await stepsOf({ plan, start, predict: moved, drawNoise: () => slab(z, start.data.length, drawn++) });
      await subject.compareSteps(c.name, "steps", steps, subject.tolerance(c));
      await subject.compare(c.name, "logit", logits, subject.tolerance(c));
      const recorded = await golden.floats(`${c.name}.steps`);
      const gradients: NDArray[] = [];
      for (const [i, { timestep }] of plan.steps.entries()) {
        const { logit, gradient } = await classifier.evaluate(latentsBefore(start, recorded, i), model.alphasCumprod[timestep]!);
        gradients.push({ ...start, data: logLikelihoodGradient(logit, gradient) });
      }
      await subject.compareSteps(c.name, "grad", gradients, tolerances.opGradient);
    });
  } finally {
    await classifier.destroy();
  }
};
