import { entryOf, noiseLevelAt } from "../../diffusion/schedulers/index.ts";
import { encodeSample, noised } from "../../diffusion/steering/encode.ts";
import { Recall, recallTimesteps } from "../../diffusion/steering/recall.ts";
import { type NDArray, stackRows } from "../../nn/array.ts";
import { parseNumbers } from "./option-table.ts";
import { type Probe, type ProbeUnit, type OtherSide, pairsOf, upTo } from "./studio.ts";

/**
 * RECALL (arXiv 2507.07139): latents searched near a reference picture, then drawn from by img2img. The picture is a quarter of the first
 * latents and is added again on the way, so that a control without any search (learning rate 0) tells what the search itself does.
 */
export const recallProbe: Probe = async (studio) => {
  const { model, own, picture, other, options } = studio;
  const timesteps = recallTimesteps(model.alphasCumprod.length, options.recallTimesteps);
  const units = (side: OtherSide, of: NDArray, learningRate: number, control?: string): ProbeUnit[] =>
    pairsOf(parseNumbers(options.strengths), upTo(options.seeds)).map(([strength, i]) =>
      studio.unit(i, side, control, { strength, learningRate }, async (seed) => {
        const random = studio.random(seed);
        const draw = (): Float32Array<ArrayBuffer> => studio.randn(random);
        const reference = await encodeSample(side.model, of, draw());
        const context = stackRows([await studio.encode("", side.model), await studio.encode(side.prompt, side.model)]);
        const search = new Recall(
          side.model,
          reference,
          context,
          {
            sign: options.recallSign === "ascent" ? 1 : -1,
            iterations: options.recallIterations,
            learningRate,
            momentum: options.momentum,
            blend: options.blend,
            reinject: options.reinject,
            interval: options.reinjectEvery,
            eachFromNoise: false,
          },
          { start: draw, noise: draw },
        );
        let state = search.begin(timesteps[0]!);
        for (const [index, timestep] of timesteps.entries()) {
          options.signal?.throwIfAborted();
          // Without a step nothing is searched: only the re-injections are left, and the passes can be spared.
          state = learningRate === 0 ? search.reinjected(state, index) : await search.timestep(state, timestep, index);
          await studio.session.emit({ type: "sampling", step: index + 1, steps: timesteps.length });
        }
        const plan = studio.plan(entryOf(options.steps, strength), side.model);
        const start = noised({ data: state.latents, shape: reference.shape }, draw(), noiseLevelAt(plan, side.model.alphasCumprod, 0));
        return studio.draw({ plan, start, predict: await studio.guided(side.prompt, side.model) }, side.model);
      }),
    );
  const rate = options.recallRate;
  return [
    ...units(own, picture, rate),
    ...units(own, picture, 0, "no-search"),
    ...(options.controlPicture ? units(own, options.controlPicture, rate, "unrelated") : []),
    ...(other ? units(other, picture, rate, "never-saw") : []),
  ];
};
