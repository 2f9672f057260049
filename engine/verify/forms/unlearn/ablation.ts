import type { PictureBatch, TensorRule } from "../../../unlearn/index.ts";
import { part } from "../../layout.ts";
import { batchOf, noiseDraws } from "./finetune.ts";
import { replay } from "./replay.ts";
import { type Trace, promptsOf, textsOf, toleranceOf } from "./trace.ts";

/** `concept-ablation`. */
export async function conceptAblation(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const [x0, masks] = [await golden.array("x0"), await golden.array("mask")];
  const [prompts, anchors] = [await promptsOf(trace, "ids"), await promptsOf(trace, "anchor_ids")];
  const prior = golden.json["with_prior_preservation"] === true;
  const all = x0.shape[1]!;
  const batch = golden.number("batch_size");
  const half = (index: number, second: boolean): PictureBatch => {
    const from = second ? batch : 0;
    const rowsOf = (whole: ReturnType<typeof batchOf>) => {
      const size = whole.data.length / all;
      return { data: whole.data.slice(from * size, (from + batch) * size), shape: [batch, ...whole.shape.slice(1)] };
    };
    return {
      latents: rowsOf(batchOf(x0, index)),
      mask: rowsOf(batchOf(masks, index)),
      prompts: prompts.slice(index * all + from, index * all + from + batch),
      anchors: anchors.slice(index * batch, (index + 1) * batch),
    };
  };
  const totals = await golden.floats("total_norm");
  await replay(trace, {
    options: {
      method: "concept-ablation",
      concepts: [prompts[0]!], anchor: anchors[0]!,
      tensors: golden.text("parameter_group") as TensorRule,
      steps: golden.number("steps"),
      learningRate: golden.number("lr"),
      weightDecay: golden.number("weight_decay", golden.object("optimizer")),
      clip: golden.number("max_grad_norm"),
      batch,
      priorWeight: prior ? golden.number("prior_loss_weight") : 0,
    },
    hooks: { pictures: (set, index) => Promise.resolve(half(index, set === "retain")) },
    draws: await noiseDraws(trace),
    observed: { target: "target", prediction: { tensor: "pred", tolerance: "target" } },
    async onUpdate(trainer, _checks, step) {
      rows.compare(name, `total_norm[${step}]`, [await trainer.gradientNorm()], [totals[step]!], toleranceOf(trace, "total_norm"));
    },
  });
}

/** `forget-me-not`. */
export async function forgetMeNot(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const x0 = await golden.array("x0");
  const prompts = await promptsOf(trace, "ids");
  const positions = await golden.ints("positions");
  const batch = golden.number("batch_size");
  const tokens = golden.shape("positions").at(-1)!;
  const layers = textsOf(golden, "layers");
  const norms = await golden.array("layer_norm");
  const seen = new Map<string, number[]>();
  const totals = await golden.floats("total_norm");
  const steps = golden.number("steps");
  await replay(trace, {
    options: {
      method: "forget-me-not",
      concepts: [prompts[0]!],
      tensors: golden.json["only_optimize_ca"] === true ? "ca" : "full",
      pooler: golden.json["use_pooler"] === true ? "on" : "off",
      steps,
      learningRate: golden.number("lr"),
      weightDecay: golden.number("weight_decay", golden.object("optimizer")),
      clip: golden.number("max_grad_norm"),
      batch,
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
      rows.compare(name, `total_norm[${step}]`, [await trainer.gradientNorm()], [totals[step]!], toleranceOf(trace, "total_norm"));
      const gradients = (await trainer.gradients()).get("unet")!;
      const trained = textsOf(golden, "trained");
      const without = trained.filter((tensor) => !gradients.has(tensor));
      const expected = textsOf(golden, "no_gradient");
      const wrong = without.filter((t) => !expected.includes(t)).length + expected.filter((t) => !without.includes(t)).length;
      rows.error(name, `no_gradient[${step}]`, wrong, 0, "mismatches");
    },
  });
  for (let step = 0; step < steps; step++) {
    const ours = layers.map((layer) => seen.get(layer)?.[step] ?? NaN);
    rows.compare(name, `layer_norm[${step}]`, ours, part(norms, step).data, toleranceOf(trace, "layer_norm"));
  }
}
