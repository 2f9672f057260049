import type { TensorRule, UnlearnOptions } from "../../../unlearn/index.ts";
import type { Trace } from "./trace.ts";
import { replay } from "./replay.ts";

/** `esd-old`: train-esd.py of 2023. */
export async function esdOld(trace: Trace): Promise<void> {
  const { golden } = trace;
  await replay(trace, {
    options: {
      method: "esd", recipe: "esd-2023",
      tensors: golden.text("train_method") as TensorRule,
      concepts: await trace.prompts("prompt_ids"),
      steps: golden.number("steps"),
      learningRate: golden.number("lr"),
      guidance: golden.number("start_guidance"),
      negativeGuidance: golden.number("negative_guidance"),
      samplingSteps: golden.number("ddim_steps"),
    },
    draws: {
      word: await golden.ints("word"), t_enc: await golden.ints("t_enc"), t: await golden.ints("t"),
      start: await trace.noises("start"),
    },
    observed: { z: "z", eps_0: "eps_0", eps_p: "eps_p", target: "target", prediction: "eps_n" },
  });
}

/** `esd-new`: esd_sd.py of 2025. */
export async function esdNew(trace: Trace): Promise<void> {
  const { golden } = trace;
  const [from] = golden.json["erase_from"] === true ? await trace.prompts("from_ids") : [];
  const options: UnlearnOptions = {
    method: "esd", recipe: "esd-2025",
    tensors: golden.text("train_method") as TensorRule,
    concepts: await trace.prompts("concept_ids"),
    ...(from !== undefined && { eraseFrom: from }),
    steps: golden.number("steps"),
    learningRate: golden.number("lr"),
    guidance: golden.number("guidance_scale"),
    negativeGuidance: golden.number("negative_guidance"),
    samplingSteps: golden.number("num_inference_steps"),
  };
  const pred = (tensor: string) => ({ tensor, tolerance: "pred" });
  await replay(trace, {
    options,
    draws: { run_till: await golden.ints("run_till"), start: await trace.noises("start") },
    observed: {
      t: "t", z: "z", target: "target", prediction: "pred_esd",
      pred_erase: pred("pred_erase"), pred_null: pred("pred_null"), ...(from !== undefined && { pred_from: pred("pred_from") }),
    },
  });
}
