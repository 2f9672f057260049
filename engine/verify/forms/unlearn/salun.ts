import { joinPath } from "../../../formats/file-system.ts";
import type { LazyTensor } from "../../../train/trained-tensors.ts";
import type { WeightSource } from "../../../nn/parameters.ts";
import {
  Mask, PictureBatches, type TensorRule, type UnlearnHooks, type UnlearnSession, allTensors, posteriorSample, resolveUnlearn,
  signedGradients,
} from "../../../unlearn/index.ts";
import { elementCount } from "../../../../kernels/kernel.ts";
import { withNeighbour } from "../../golden.ts";
import { stackRows } from "../../../nn/array.ts";
import { part } from "../../layout.ts";
import { hashNumbers } from "../../../loading/synthetic.ts";
import { RecordedDraws } from "./draws.ts";
import { originalUNetNames } from "../../../loading/names/unet-original.ts";
import { openTensorPath } from "../../../formats/open.ts";
import { exampleFiles } from "./examples.ts";
import { noiseDraws, recordedPictures } from "./finetune.ts";
import { checkTrained, compareProbes } from "./probes.ts";
import { replay } from "./replay.ts";
import { type Trace, batchOf } from "./trace.ts";

/** `salun-mask`: the signed sum of gradients over batches, and masks of its largest elements. */
export async function salunMask(trace: Trace): Promise<void> {
  const { golden, model } = trace;
  const batch = golden.number("batch_size");
  const batches = golden.number("batches");
  const [prompt] = await trace.prompts("prompt_ids");
  await posterior(trace);
  const x0 = await golden.array("x0");
  let [predictions, losses] = [0, 0];
  const hooks: UnlearnHooks = {
    pictures: (_set, index) => Promise.resolve({ latents: batchOf(x0, index), prompts: Array.from({ length: batch }, () => prompt!) }),
    async observe(what, read) {
      if (what === "mask prediction") await trace.compareRow("pred", predictions++, await read());
      if (what === "mask loss") await trace.compareRow("loss", losses++, await read());
    },
  };
  const options = {
    method: "salun", concepts: [prompt!], anchor: prompt!, retain: [prompt!], batch, guidance: golden.number("c_guidance"),
  } as const;
  const session: UnlearnSession = {
    base: model, settings: resolveUnlearn(model, options), images: {}, hooks,
    draws: new RecordedDraws(await noiseDraws(trace)),
    phase: () => Promise.resolve(),
  };
  const gradients = await signedGradients(session, await PictureBatches.of(session, "mask", undefined, { prompts: [] }), batches);
  try {
    await compareSums(trace, gradients.tensors);
    await compareMasks(trace, gradients.tensors);
  } finally {
    gradients.destroy();
  }
}

async function posterior(trace: Trace): Promise<void> {
  const { golden, model } = trace;
  const shape = golden.shape("image");
  const image = { data: Float32Array.from(await golden.ints("image"), (x) => x / 127.5 - 1), shape: [...shape] };
  const noise = await golden.array("posterior_noise");
  const { scalingFactor } = model.parts.vae.config;
  const samples = [];
  for (let i = 0; i < shape[0]!; i++) {
    samples.push(posteriorSample(await model.encodeMoments(part(image, i)), part(noise, i).data, scalingFactor));
  }
  await trace.compareRow("x0", 0, stackRows(samples));
}

async function compareSums(trace: Trace, tensors: readonly LazyTensor[]): Promise<void> {
  const { golden, model } = trace;
  checkTrained(trace, "trained", tensors.map((t) => t.name), allTensors(model, "unet"));
  const byName = new Map(tensors.map((t) => [t.name, t]));
  const read = async (tensor: string): Promise<Float32Array> => (await byName.get(tensor)?.read()) ?? new Float32Array(0);
  const zero = new Set(golden.texts("zero_grad"));
  const [tolerance, trained] = [trace.toleranceOf("sum"), golden.texts("trained")];
  const recorded = { norms: await golden.floats("sum_norm"), dots: await golden.floats("sum_dot") };
  await compareProbes(trace, "sum", trained, recorded, read, (tensor) => ({ tolerance, zero: zero.has(tensor) }));
  for (const whole of trained.filter((tensor) => golden.has(`sum.${tensor}`))) {
    await trace.compareWhole(`sum.${whole}`, await read(whole), "sum_whole");
  }
}

/** Rounding swaps elements at the cut: as many as ten times what it did between float32 and float64, and one in each tensor's count. */
async function compareMasks(trace: Trace, gradients: readonly LazyTensor[]): Promise<void> {
  const { golden, rows, name } = trace;
  const trained = golden.texts("trained");
  const total = gradients.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
  const wrong = Math.max(10, Math.ceil(10 * trace.floorOf("mask_wrong_share") * total));
  for (const share of golden.numbers("shares")) {
    const mask = await Mask.of(gradients, share);
    const label = `mask${Math.round(100 * share)}`;
    const cuts = golden.object("cuts", golden.cases[0]!);
    const { kept } = (cuts[String(share)] ?? {}) as { kept?: number };
    const counts = trained.map((tensor) => mask.ones(tensor).reduce((a, b) => a + b, 0));
    rows.compare(name, `${label} kept`, [counts.reduce((a, b) => a + b, 0)], [kept ?? NaN], 0, "mismatches");
    await compareMaskFiles(trace, share, mask, wrong);
    const expected = await golden.ints(`${label}.count`);
    const off = counts.reduce((n, count, i) => n + Math.abs(count - expected[i]!), 0);
    rows.error(name, `${label}.count`, off, 2 * wrong, "mismatches");
    if (golden.has(`${label}.bits`)) {
      const bits = await golden.ints(`${label}.bits`);
      let [at, different] = [0, 0];
      for (const tensor of trained) for (const one of mask.ones(tensor)) if (one !== ((bits[at >> 3]! >> (at++ & 7)) & 1)) different++;
      rows.error(name, `${label}.bits`, different, wrong, "mismatches");
    }
    if (!golden.has(`${label}.dot`)) continue;
    const dots = await golden.floats(`${label}.dot`);
    const ours = trained.map((tensor) => maskDot(tensor, mask.ones(tensor)));
    const apart = ours.reduce((n, dot, i) => n + (Math.abs(dot - dots[i]!) > 1e-3 * Math.max(1, Math.abs(dots[i]!)) ? 1 : 0), 0);
    rows.error(name, `${label}.dot`, apart, wrong, "mismatches", "tensors whose mask differs");
  }
}

/** Mask files of this share that the trace names: original names, zeros and ones, all of a mask or some of it. */
async function compareMaskFiles(trace: Trace, share: number, mask: Mask, wrong: number): Promise<void> {
  const { golden, rows, name, model, context } = trace;
  const holds = String((golden.json["example"] as { holds?: unknown } | undefined)?.holds);
  if (Number(/with_([\d.]*\d)/.exec(holds)?.[1]) !== share) return;
  for (const file of exampleFiles(trace)) {
    const example = await openTensorPath(context.files, joinPath(golden.folder, file));
    try {
      const originals = originalUNetNames(model.parts.unet.parameters.source.names(), model.parts.unet.config);
      const own = new Map([...originals].map(([tensor, original]) => [original, tensor]));
      let different = 0;
      for (const original of example.entries.keys()) {
        const tensor = own.get(original.replace(/^model\.diffusion_model\./, ""));
        const [theirs, ours] = [await example.readInts(original), tensor === undefined ? new Uint8Array(0) : mask.ones(tensor)];
        different += theirs.length === ours.length ? theirs.reduce((n, one, i) => n + (one === ours[i] ? 0 : 1), 0) : theirs.length + 1;
      }
      rows.error(name, `${file} read`, different, wrong, "mismatches", `${example.entries.size} tensors`);
    } finally {
      await example.close();
    }
  }
}

function maskDot(tensor: string, ones: Uint8Array): number {
  const h = hashNumbers(`probe.${tensor}`, ones.length, 0, 1);
  return ones.reduce((sum, one, i) => sum + one * h[i]!, 0);
}

/** `salun`: random-label unlearning with a mask, or without. */
export async function salun(trace: Trace): Promise<void> {
  const { golden } = trace;
  const [forget] = await trace.prompts("forget_ids");
  const [pseudo] = await trace.prompts("pseudo_ids");
  const batch = golden.number("batch_size");
  const [concept, again] = [await golden.array("forget_x0"), await golden.array("pseudo_x0")];
  const retain = await recordedPictures(trace, "remain_x0", "remain_ids");
  const masked = golden.json["masked"] === true;
  const mask = masked ? await recordedMask(trace) : undefined;
  const prompts = Array.from({ length: batch }, () => forget!);
  await replay(trace, {
    options: {
      method: "salun", recipe: "salun-2024",
      tensors: golden.text("train_method") as TensorRule,
      concepts: [forget!], anchor: pseudo!, retain: [pseudo!],
      alpha: golden.number("alpha"),
      batch,
      steps: golden.number("steps"),
      learningRate: golden.number("lr"),
      ...(mask ? { mask } : { unmasked: true }),
    },
    hooks: {
      pictures(set, index) {
        if (set === "retain") return Promise.resolve(retain(index));
        return Promise.resolve({ latents: batchOf(set === "concept" ? concept : again, index), prompts });
      },
    },
    draws: {
      ...(await noiseDraws(trace)), remain_t: await golden.ints("remain_t"),
      remain_noise: await trace.noises("remain_noise"),
    },
    observed: { pseudo_out: "pseudo_out", forget_out: { tensor: "forget_out", tolerance: "pseudo_out" } },
    losses: { loss: "loss", forget: { tensor: "forget_loss", tolerance: "loss" }, retain: { tensor: "remain_loss", tolerance: "loss" } },
  });
}

/** The mask of another trace: bit k % 8, the lowest first, of byte k / 8 is element k of all in `trained` order. */
async function recordedMask({ golden, model, context }: Trace): Promise<WeightSource> {
  const { file, tensor } = golden.object("mask");
  return withNeighbour(golden, context.files, String(file), async (other) => {
    const bits = await other.ints(String(tensor));
    const { parameters } = model.parts.unet;
    const starts = new Map<string, number>();
    let at = 0;
    for (const one of other.texts("trained")) {
      starts.set(one, at);
      at += elementCount(parameters.storedShape(one));
    }
    return {
      name: other.source,
      names: () => starts.keys(),
      shape: (one) => (starts.has(one) ? parameters.storedShape(one) : undefined),
      readFloat32(one) {
        const start = starts.get(one)!;
        const length = elementCount(parameters.storedShape(one));
        return Promise.resolve(Float32Array.from({ length }, (_, i) => (bits[(start + i) >> 3]! >> ((start + i) & 7)) & 1));
      },
    };
  });
}
