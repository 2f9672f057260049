import { type PictureBatch, type UnlearnOptions, averageDecayAt } from "../../../unlearn/index.ts";
import { replay } from "./replay.ts";
import { type Trace, batchOf } from "./trace.ts";

/** Recorded latents and prompts in the place of training pictures: tensors [batches, B, ...]. */
export async function recordedPictures(trace: Trace, latents: string, prompts: string): Promise<(index: number) => PictureBatch> {
  const { golden } = trace;
  const [x0, texts] = [await golden.array(latents), await trace.prompts(prompts)];
  const batch = x0.shape[1]!;
  return (index) => ({ latents: batchOf(x0, index), prompts: texts.slice(index * batch, (index + 1) * batch) });
}

/** Timesteps and noises of noised batches. */
export async function noiseDraws(trace: Trace): Promise<Record<string, ArrayLike<number> | Float32Array<ArrayBuffer>[]>> {
  return { t: await trace.golden.ints("t"), noise: await trace.noises("noise") };
}

/** `finetune`: noise-prediction training of one component, once with diffusers' average and once with a constant one. */
export async function finetune(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const pictures = await recordedPictures(trace, "x0", "ids");
  const options: UnlearnOptions = {
    method: "finetune",
    concepts: ["1"],
    tensors: golden.text("component") === "unet" ? "full" : "text-encoder",
    ...trace.trainingOptions,
    clip: golden.number("max_grad_norm"),
    accumulate: golden.number("accumulate"),
    averageDecay: golden.number("ema_decay"),
  };
  golden.numbers("ema_decays").forEach((decay, i) => {
    const ours = averageDecayAt({ averageDecay: options.averageDecay!, averageWarmup: true }, i + 1);
    rows.compare(name, `ema_decays[${i}]`, [ours], [decay], 1e-9, "absolute");
  });
  const hooks = { pictures: (_set: string, index: number) => Promise.resolve(pictures(index)) };
  await replay(trace, {
    options: { ...options, averageWarmup: true }, hooks,
    draws: await noiseDraws(trace),
    observed: { prediction: { tensor: "pred", tolerance: "pred" }, loss: "loss" },
    losses: {},
    async onUpdate(trainer, checks, step) {
      await trace.compareRow("total_norm", step, [await trainer.gradientNorm()]);
      await checks.deltas("ema", step, await trainer.averages());
    },
  });
  await replay(trace, {
    options, hooks, draws: await noiseDraws(trace), observed: {}, losses: {}, quiet: true,
    onUpdate: async (trainer, checks, step) => checks.deltas("ema_const", step, await trainer.averages()),
  });
}
