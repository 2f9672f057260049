import { createNoisyPlan, schedulerJsonFor } from "../../../diffusion/schedulers/index.ts";
import { LatentClassifier, classifierGuided, logLikelihoodGradient } from "../../../diffusion/steering/latent-classifier.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Form } from "../../context.ts";
import { Subject, slab, stepsOf, unetField } from "./subject.ts";

const PREFIX = "w.";

/** `latent_classifier`: DDIM guided by the gradient of a small classifier on the noisy latents. */
export const latentClassifier: Form = async (golden, rows, context) => {
  const subject = await Subject.of(golden, rows, context, unetField(golden));
  const { model } = subject;
  const weights = new Map<string, NDArray>();
  for (const name of golden.names().filter((n) => n.startsWith(PREFIX))) weights.set(name.slice(PREFIX.length), await golden.array(name));
  const classifier = LatentClassifier.of(await context.device(), weights);
  try {
    const predict = await subject.guidedBy("prompt");
    for (const c of golden.cases) {
      await rows.guard(c.name, "", async () => {
        const plan = createNoisyPlan(schedulerJsonFor("ddim", model.parts.scheduler), golden.number("steps"), golden.number("eta", c), 1);
        const start = await golden.array("init");
        const size = start.data.length;
        const z = await golden.floats("z");
        let drawn = 0;
        const logits: number[] = [];
        const scale = golden.number("scale", c);
        const moved = classifierGuided(predict, classifier, model.alphasCumprod, scale, (_g, logit) => void logits.push(logit));
        const steps = await stepsOf({ plan, start, predict: moved, drawNoise: () => slab(z, size, drawn++) });
        const expected = await golden.floats(`${c.name}.steps`);
        subject.compareSteps(c.name, "steps", steps, expected, subject.tolerance(c));
        rows.compare(c.name, "logit", logits, await golden.floats(`${c.name}.logit`), subject.tolerance(c));
        const gradients: NDArray[] = [];
        for (const [i, { timestep }] of plan.steps.entries()) {
          const before = i === 0 ? start : { ...start, data: slab(expected, size, i - 1) };
          const { logit, gradient } = await classifier.evaluate(before, model.alphasCumprod[timestep]!);
          gradients.push({ ...start, data: logLikelihoodGradient(logit, gradient) });
        }
        subject.compareSteps(c.name, "grad", gradients, await golden.floats(`${c.name}.grad`), rows.tolerances.opGradient);
      });
    }
  } finally {
    await classifier.destroy();
  }
};
