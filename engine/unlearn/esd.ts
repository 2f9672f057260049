import { mseLoss } from "../../kernels/loss.ts";
import { type NDArray, stackRows } from "../nn/array.ts";
import { CombinedPrediction, asLatents, readLatents, recordPrediction } from "./common/predict.ts";
import { startTraining } from "./common/start.ts";
import { Trajectories, compVisPlan, compVisTime, pipelinePlan } from "./common/trajectory.ts";
import type { Training, UnlearnSession } from "./training.ts";

/** Where one step's latents come from and what they are compared with. */
interface Step {
  readonly plan: ReturnType<typeof pipelinePlan>;
  readonly timestep: number;
}

/**
 * ESD (Gandikota et al., arXiv 2303.07345): the trained prediction for a concept is led to what the unchanged model predicts when it is
 * steered away from the concept, at noise levels of trajectories towards it.
 *
 * - esd-2023 (train-scripts/train-esd.py): the trajectory is drawn by the model as trained so far, with CompVis's DDIM, whose first step
 *   is dropped; target e_0 - n (e_p - e_0).
 * - esd-2025 (esd_sd.py): by the unchanged model, with the pipeline's own scheduler; target e_from - n (e_p - e_0).
 * - esd-xl-2025 (esd_sdxl.py): the same. The pipeline steers the trajectory away from zeros, the target from the encoded empty prompt. The
 *   predictions take the trajectory's latents as they are: the code leaves out the scale 1 / sqrt(sigma^2 + 1) of SDXL's Euler scheduler.
 */
export async function startEsd(session: UnlearnSession): Promise<Training> {
  const { base, settings, draws, hooks, signal } = session;
  const { concepts, latentSize: [height, width], samplingSteps, recipe, eraseFrom } = settings;
  const [old, steps, n] = [recipe === "esd-2023", samplingSteps!, settings.negativeGuidance!];
  const empty = await base.encodePrompt("");
  const unconditional = recipe === "esd-xl-2025" ? await base.encodeNoPrompt() : empty;
  const texts: NDArray[] = [];
  for (const concept of concepts) texts.push(await base.encodePrompt(concept));
  const from = eraseFrom === null ? undefined : await base.encodePrompt(eraseFrom);

  const started = await startTraining(session, (g, model) => {
    const { prediction, context } = recordPrediction(g, model, g.tensor(drawn.sampler.sample));
    const loss = mseLoss(g, prediction, g.tensor(frozen.target));
    return { loss, rescaleAt: model.rescaleAt(prediction, context), outputs: { prediction } };
  });
  const { model, trainer } = started;
  const drawn = new Trajectories(old ? model : base, settings, 1, signal);
  const z = drawn.sampler.sample;
  const frozen = await CombinedPrediction.for(base, old ? "esd-2023" : "esd-2025", z, from ? 3 : 2);
  const names = old ? ["eps_0", "eps_p"] : ["pred_erase", "pred_null", "pred_from"].slice(0, from ? 3 : 2);
  const factors = old ? [1 + n, -n] : from ? [-n, n, 1] : [1 - n, n];

  const drawStep = (): Step => {
    if (!old) {
      const plan = pipelinePlan(base, steps);
      const until = draws.whole("run_till", 0, steps);
      return { plan: { ...plan, steps: plan.steps.slice(0, until) }, timestep: plan.steps[until]!.timestep };
    }
    const { end, timestep } = compVisTime(draws, base, steps);
    return { plan: compVisPlan(base, steps, end), timestep };
  };

  return {
    ...started,
    losses: ["loss"],
    async step(index) {
      const text = texts[concepts.length === 1 ? 0 : draws.whole("word", 0, concepts.length)]!;
      const { plan, timestep } = drawStep();
      const shape = [1, base.parts.unet.config.inChannels, height, width];
      const noise = { data: draws.normal("start", shape), shape };
      await drawn.run(plan, [from ?? text], unconditional, noise);
      await hooks.observe?.("t", async () => ({ data: Float32Array.of(timestep), shape: [1] }));
      await hooks.observe?.("z", () => readLatents(z));
      const contexts = old ? [empty, text] : from ? [text, empty, from] : [text, empty];
      await frozen.run(timestep, stackRows(contexts).data, factors, signal);
      for (const [i, name] of names.entries()) await hooks.observe?.(name, () => frozen.read(i));
      await hooks.observe?.("target", () => readLatents(frozen.target));
      await started.update(index, {
        context: (from ?? text).data,
        features: model.timestepFeatures([timestep], model.sizesOf(height, width)),
      });
      await hooks.observe?.("prediction", async () => asLatents(await trainer.output("prediction"), frozen.target));
    },
  };
}
