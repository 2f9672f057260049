import { hashNumbers } from "../../../loading/synthetic.ts";
import { type NDArray, stackRows } from "../../../nn/array.ts";
import { variantOf } from "../../../train/variant.ts";
import { type Unlearned, mergedLowRank } from "../../../unlearn/index.ts";
import { part } from "../../layout.ts";
import { noiseDraws, recordedPictures } from "./finetune.ts";
import { type Components, checkTrained } from "./probes.ts";
import { replay } from "./replay.ts";
import { type Trace, batchOf } from "./trace.ts";

/** `lora`: noise-prediction training of a LoRA, and what it makes of the model, also merged. */
export async function lora(trace: Trace): Promise<void> {
  const { golden } = trace;
  const rank = golden.number("rank");
  const targets = golden.object("targets");
  const [prefix, upStd] = initOf(trace);
  const steps = golden.number("steps");
  const pictures = await recordedPictures(trace, "x0", "ids");
  const prefixed = (components: Components): Map<string, NDArray> =>
    new Map([...components].flatMap(([component, tensors]) => [...tensors].map(([name, data]) => [`${component}.${name}`, data] as const)));
  const before = new Map<string, NDArray>();
  const initial = (component: string, tensor: string, shape: readonly number[]): Float32Array<ArrayBuffer> => {
    const std = tensor.includes(".down.") ? 1 / rank : upStd;
    const data = hashNumbers(`${prefix}${component}.${tensor}`, shape.reduce((a, b) => a * b, 1), 0, std);
    before.set(`${component}.${tensor}`, { data, shape });
    return data;
  };
  await replay(trace, {
    options: {
      method: "lora",
      concepts: ["1"],
      adaptText: targets["text_encoder"] !== undefined,
      rank,
      alpha: golden.number("alpha"),
      ...trace.trainingOptions,
      clip: 1e30, // the trace has no bound
    },
    hooks: { pictures: (_set, index) => Promise.resolve(pictures(index)), initial },
    draws: await noiseDraws(trace),
    observed: { prediction: "pred" },
    named: prefixed,
    before: () => before,
    onResult: (result) => after(trace, result, pictures(steps).prompts),
  });
}

/** The hash's prefix and the deviation of `up`, as the JSON's sentence says. */
function initOf({ golden }: Trace): readonly [string, number] {
  const words = golden.text("init");
  const [, prefix] = /name '([^']*)'/.exec(words) ?? [];
  const [, std] = /([\d.]+) for up/.exec(words) ?? [];
  return [prefix ?? "", Number(std)];
}

async function after(trace: Trace, result: Unlearned, prompts: readonly string[]): Promise<void> {
  const { golden, model, tokenizer } = trace;
  checkTrained(trace, "trained", result.trained.flatMap(({ component, tensors }) => tensors.map((t) => `${component}.${t}`)));
  const at = golden.number("steps");
  const [x0, noise] = [batchOf(await golden.array("x0"), at), batchOf(await golden.array("noise"), at)];
  const count = x0.shape[0]!;
  const timesteps = [...(await golden.ints("t")).subarray(at * count, (at + 1) * count)];
  const ids = prompts.map((prompt) => tokenizer.encode(prompt));
  const latents = stackRows(timesteps.map((time, i) => model.addNoise(part(x0, i), part(noise, i), time).noised));
  const predict = async (one: typeof model): Promise<NDArray> => one.predictNoise(latents, timesteps, await one.encodeText(ids));
  const hidden = await result.model.encodeText(ids);
  if (golden.has("hidden_after")) await trace.compareWhole("hidden_after", hidden);
  await trace.compareWhole("eps_after", await predict(result.model));
  await trace.compareWhole("eps_base", await predict(model), "eps_after");
  const merged = await mergedLowRank(model, result.changed, golden.number("alpha") / golden.number("rank"));
  const variant = variantOf(model, {
    owns: (tensor, component) => merged.get(component)?.has(tensor) === true,
    source(component) {
      const { source } = (component === "unet" ? model.parts.unet : model.parts.textEncoder).parameters;
      const tensors = merged.get(component);
      return tensors && { ...source, readFloat32: (tensor) => Promise.resolve(tensors.get(tensor)!), readFloat16: () => undefined };
    },
  });
  try {
    await trace.compareWhole("eps_merged", await predict(variant));
  } finally {
    await variant.destroy();
  }
  for (const tensor of golden.namesAfter("merged.")) {
    await trace.compareWhole(`merged.${tensor}`, merged.get("unet")?.get(tensor) ?? [], "merged");
  }
}
