import { joinPath } from "../../../formats/file-system.ts";
import type { LazyTensor } from "../../../train/trained-tensors.ts";
import type { WeightSource } from "../../../nn/parameters.ts";
import {
  Mask, PictureBatches, type TensorRule, type UnlearnHooks, type UnlearnSession, allTensors, posteriorSample, resolveUnlearn,
  signedGradients,
} from "../../../unlearn/index.ts";
import { openGolden } from "../../golden.ts";
import { stackRows } from "../../../nn/array.ts";
import { part } from "../../layout.ts";
import { hashNumbers } from "../../../loading/synthetic.ts";
import { RecordedDraws } from "./draws.ts";
import { originalUNetNames } from "../../../loading/names/unet-original.ts";
import { openTensorPath } from "../../../formats/open.ts";
import { exampleFiles } from "./examples.ts";
import { batchOf, noiseDraws, recordedPictures } from "./finetune.ts";
import { checkTrained, probe } from "./probes.ts";
import { replay } from "./replay.ts";
import { type Trace, floorOf, promptsOf, rowsOf, textsOf, toleranceOf } from "./trace.ts";

/** `salun-mask`: the signed sum of gradients over batches, and masks of its largest elements. */
export async function salunMask(trace: Trace): Promise<void> {
  const { golden, rows, name, model } = trace;
  const batch = golden.number("batch_size");
  const batches = golden.number("batches");
  const [prompt] = await promptsOf(trace, "prompt_ids");
  await posterior(trace);
  const x0 = await golden.array("x0");
  let at = 0;
  let losses = 0;
  const expected = await golden.array("loss");
  const hooks: UnlearnHooks = {
    pictures: (_set, index) => Promise.resolve({ latents: batchOf(x0, index), prompts: Array.from({ length: batch }, () => prompt!) }),
    async observe(what, read) {
      if (what === "mask prediction") {
        rows.compare(name, `pred[${at}]`, (await read()).data, part(await golden.array("pred"), at).data, toleranceOf(trace, "pred"));
        at++;
      }
      if (what === "mask loss") {
        rows.compare(name, `loss[${losses}]`, (await read()).data, [expected.data[losses]!], toleranceOf(trace, "loss"));
        losses++;
      }
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
  const { golden, rows, name, model } = trace;
  const shape = golden.shape("image");
  const image = { data: Float32Array.from(await golden.ints("image"), (x) => x / 127.5 - 1), shape: [...shape] };
  const noise = await golden.array("posterior_noise");
  const { scalingFactor } = model.parts.vae.config;
  const samples = [];
  for (let i = 0; i < shape[0]!; i++) {
    samples.push(posteriorSample(await model.encodeMoments(part(image, i)), part(noise, i).data, scalingFactor));
  }
  rows.compare(name, "x0[0]", stackRows(samples).data, part(await golden.array("x0"), 0).data, toleranceOf(trace, "x0"));
}

async function compareSums(trace: Trace, tensors: readonly LazyTensor[]): Promise<void> {
  const { golden, rows, name, model } = trace;
  checkTrained(trace, "trained", tensors.map((t) => t.name), allTensors(model, "unet"));
  const [norms, dots] = [await golden.floats("sum_norm"), await golden.floats("sum_dot")];
  const zero = new Set(textsOf(golden, "zero_grad"));
  const trained = textsOf(golden, "trained");
  let [worst, where, worstZero] = [0, "", 0];
  const byName = new Map(tensors.map((t) => [t.name, t]));
  for (const [i, tensor] of trained.entries()) {
    const data = (await byName.get(tensor)?.read()) ?? new Float32Array(0);
    const { norm, dot } = probe(tensor, data);
    if (zero.has(tensor)) worstZero = Math.max(worstZero, norm);
    else {
      const error = Math.max(Math.abs(norm - norms[i]!), Math.abs(dot - dots[i]!)) / norms[i]!;
      if (!(error <= worst)) [worst, where] = [error, tensor];
    }
    const whole = `sum.${tensor}`;
    if (golden.has(whole)) rows.compare(name, whole, data, await golden.floats(whole), toleranceOf(trace, "sum_whole"));
  }
  rows.error(name, "sum", worst, toleranceOf(trace, "sum"), "relative L2", `worst: ${where}`);
  if (zero.size > 0) {
    rows.error(name, "sum of mathematically zero gradients", worstZero, Math.max(1e-5, 10 * floorOf(trace, "zero_grad_abs")), "absolute");
  }
}

/** Rounding swaps elements at the cut: as many as ten times what it did between float32 and float64, and one in each tensor's count. */
async function compareMasks(trace: Trace, gradients: readonly LazyTensor[]): Promise<void> {
  const { golden, rows, name } = trace;
  const trained = textsOf(golden, "trained");
  const total = gradients.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
  const wrong = Math.max(10, Math.ceil(10 * floorOf(trace, "mask_wrong_share") * total));
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
    const example = await openTensorPath(context.files, joinPath(golden.path.slice(0, golden.path.lastIndexOf("/")), file));
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
  const { golden, context } = trace;
  const [forget] = await promptsOf(trace, "forget_ids");
  const [pseudo] = await promptsOf(trace, "pseudo_ids");
  const batch = golden.number("batch_size");
  const [concept, again] = [await golden.array("forget_x0"), await golden.array("pseudo_x0")];
  const retain = await recordedPictures(trace, "remain_x0", "remain_ids");
  const masked = golden.json["masked"] === true;
  const mask = masked ? await recordedMask(trace, context.files) : undefined;
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
      remain_noise: (await rowsOf(golden, "remain_noise")).map(({ data }) => data),
    },
    observed: { pseudo_out: "pseudo_out", forget_out: { tensor: "forget_out", tolerance: "pseudo_out" } },
    losses: { loss: "loss", forget: { tensor: "forget_loss", tolerance: "loss" }, retain: { tensor: "remain_loss", tolerance: "loss" } },
  });
}

/** The mask of another trace: bit k % 8, the lowest first, of byte k / 8 is element k of all in `trained` order. */
async function recordedMask({ golden, model }: Trace, files: Trace["context"]["files"]): Promise<WeightSource> {
  const { file, tensor } = golden.object("mask");
  const folder = golden.path.slice(0, golden.path.lastIndexOf("/"));
  const other = await openGolden(files, joinPath(folder, `${String(file)}.json`));
  try {
    const bits = await other.ints(String(tensor));
    const { parameters } = model.parts.unet;
    const starts = new Map<string, number>();
    let at = 0;
    for (const one of textsOf(other, "trained")) {
      starts.set(one, at);
      at += parameters.storedShape(one).reduce((a, b) => a * b, 1);
    }
    return {
      name: other.source,
      names: () => starts.keys(),
      shape: (one) => (starts.has(one) ? parameters.storedShape(one) : undefined),
      readFloat32(one) {
        const start = starts.get(one)!;
        const length = parameters.storedShape(one).reduce((a, b) => a * b, 1);
        return Promise.resolve(Float32Array.from({ length }, (_, i) => (bits[(start + i) >> 3]! >> ((start + i) & 7)) & 1));
      },
    };
  } finally {
    await other.close();
  }
}
