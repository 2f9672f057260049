import type { PictureBatch, TensorRule } from "../../../unlearn/index.ts";
import { parts } from "../../layout.ts";
import { noiseDraws } from "./finetune.ts";
import { replay } from "./replay.ts";
import { type Trace, batchOf } from "./trace.ts";

/** `concept-ablation`. */
export async function conceptAblation(trace: Trace): Promise<void> {
  const { golden } = trace;
  const [x0, masks] = [await golden.array("x0"), await golden.array("mask")];
  const [prompts, anchors] = [await trace.prompts("ids"), await trace.prompts("anchor_ids")];
  const prior = golden.json["with_prior_preservation"] === true;
  const all = x0.shape[1]!;
  const batch = golden.number("batch_size");
  const half = (index: number, second: boolean): PictureBatch => {
    const from = second ? batch : 0;
    return {
      latents: parts(batchOf(x0, index), from, from + batch),
      mask: parts(batchOf(masks, index), from, from + batch),
      prompts: prompts.slice(index * all + from, index * all + from + batch),
      anchors: anchors.slice(index * batch, (index + 1) * batch),
    };
  };
  await replay(trace, {
    options: {
      method: "concept-ablation",
      concepts: [prompts[0]!], anchor: anchors[0]!,
      tensors: golden.text("parameter_group") as TensorRule,
      ...trace.trainingOptions,
      clip: golden.number("max_grad_norm"),
      priorWeight: prior ? golden.number("prior_loss_weight") : 0,
    },
    hooks: { pictures: (set, index) => Promise.resolve(half(index, set === "retain")) },
    draws: await noiseDraws(trace),
    observed: { target: "target", prediction: { tensor: "pred", tolerance: "target" } },
    onUpdate: async (trainer, _checks, step) => trace.compareRow("total_norm", step, [await trainer.gradientNorm()]),
  });
}

/** `forget-me-not`. */
export async function forgetMeNot(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const x0 = await golden.array("x0");
  const prompts = await trace.prompts("ids");
  const positions = await golden.ints("positions");
  const batch = golden.number("batch_size");
  const tokens = golden.shape("positions").at(-1)!;
  const layers = golden.texts("layers");
  const seen = new Map<string, number[]>();
  const steps = golden.number("steps");
  await replay(trace, {
    options: {
      method: "forget-me-not",
      concepts: [prompts[0]!],
      tensors: golden.json["only_optimize_ca"] === true ? "ca" : "full",
      pooler: golden.json["use_pooler"] === true ? "on" : "off",
      ...trace.trainingOptions,
      clip: golden.number("max_grad_norm"),
    },
    hooks: {
      pictures: (_set, index) =>
        Promise.resolve({
          latents: batchOf(x0, index),
          prompts: prompts.slice(index * batch, (index + 1) * batch),
          positions: [...positions.subarray(index * batch * tokens, (index + 1) * batch * tokens)],
        }),
    },
    draws: await noiseDraws(trace),
    observed: {},
    onObserved: async (what, read) => {
      if (what.startsWith("layer ")) seen.set(what.slice(6), [...(seen.get(what.slice(6)) ?? []), (await read()).data[0]!]);
    },
    async onUpdate(trainer, _checks, step) {
      await trace.compareRow("total_norm", step, [await trainer.gradientNorm()]);
      const gradients = (await trainer.gradients()).get("unet")!;
      const trained = golden.texts("trained");
      const without = trained.filter((tensor) => !gradients.has(tensor));
      const expected = golden.texts("no_gradient");
      const wrong = without.filter((t) => !expected.includes(t)).length + expected.filter((t) => !without.includes(t)).length;
      rows.error(name, `no_gradient[${step}]`, wrong, 0, "mismatches");
    },
  });
  for (let step = 0; step < steps; step++) {
    await trace.compareRow("layer_norm", step, layers.map((layer) => seen.get(layer)?.[step] ?? NaN));
  }
}
