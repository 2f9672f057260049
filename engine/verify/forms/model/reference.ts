import { readAll } from "../../../formats/byte-source.ts";
import { FormatError } from "../../../formats/errors.ts";
import { type FileSystem, joinPath } from "../../../formats/file-system.ts";
import { tensorToImages, imagesToTensor } from "../../../formats/picture/image.ts";
import { decodePng } from "../../../platform/picture/png-codec.ts";
import type { NDArray } from "../../../nn/array.ts";
import { loadClassifier } from "../../../vision/image-classifier.ts";
import { type SamplerPlan, createSamplerPlan } from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Form, VerifyContext } from "../../context.ts";
import type { Golden, Json } from "../../golden.ts";
import { sampleLatents } from "../../pictures.ts";
import { type Rows, TOLERANCES } from "../../rows.ts";

type Case = Json & { readonly index: number };

interface Subject {
  readonly golden: Golden;
  readonly rows: Rows;
  readonly context: VerifyContext;
  readonly model: StableDiffusion;
  readonly plan: SamplerPlan;
  readonly guidance: number;
}

/**
 * `reference`: a model's own pictures and everything on the way to them, and the same through its unlearned variants; described in its
 * JSON.
 */
export const reference: Form = async (golden, rows, context) => {
  const model = await context.model();
  const ddim = golden.object("ddim");
  const plan = createSamplerPlan("ddim", { ...model.parts.scheduler, ...ddim }, golden.number("steps", ddim), {
    eta: golden.number("eta", ddim),
  });
  rows.compare(
    "ddim",
    "timesteps",
    plan.steps.map((s) => s.timestep),
    golden.numbers("timesteps", ddim),
    0,
    "mismatches",
  );
  const subject: Subject = { golden, rows, context, model, plan, guidance: golden.number("guidance", ddim) };
  if (golden.has("uncond.text_hidden")) await rows.guard("uncond", "text_hidden", () => checkUnconditional(subject));
  for (const [i, entry] of golden.list("cases").entries()) {
    const c = entry as Case;
    if (typeof c?.index !== "number") throw new FormatError(golden.path, `case ${i} has no "index"`);
    const name = String(c.index);
    // Each names a tensor and is run alone, so that one failure does not hide the others.
    const checks: readonly [string, (s: Subject, c: Case, name: string) => Promise<void>][] = [
      ["text_hidden", checkText],
      ["unet.eps", checkUNet],
      ["grad.token_embeddings", checkGradient],
      ["ddim.final", checkSample],
      ["vae.decoded", checkVae],
      ["classifier", checkClassifiers],
      ["unlearned", checkUnlearned],
    ];
    for (const [tensor, check] of checks) await rows.guard(name, tensor, () => check(subject, c, name));
  }
};

async function checkUnconditional({ golden, rows, model }: Subject): Promise<void> {
  const ids = await golden.ints("uncond.input_ids");
  rows.compare("uncond", "input_ids", model.tokenizer.encode(golden.text("unconditional_prompt")), ids, 0, "mismatches");
  rows.compare(
    "uncond",
    "text_hidden",
    (await model.encodeText(ids)).data,
    await golden.floats("uncond.text_hidden"),
    rows.tolerances.model,
  );
}

async function checkText({ golden, rows, model }: Subject, c: Case, name: string): Promise<void> {
  const ids = await golden.ints(`${name}.input_ids`);
  const own = model.tokenizer.encode(golden.text("prompt", c));
  rows.compare(name, "input_ids", own, ids, 0, "mismatches");
  if (c["tokens"] !== undefined) {
    const pieces = golden.list("tokens", c);
    const made = model.tokenizer.pieces(own);
    rows.error(name, "tokens", pieces.filter((p, i) => p !== made[i]).length + Math.abs(made.length - pieces.length), 0, "mismatches");
  }
  rows.compare(name, "text_hidden", (await model.encodeText(ids)).data, await golden.floats(`${name}.text_hidden`), rows.tolerances.model);
}

async function checkUNet({ golden, rows, model }: Subject, c: Case, name: string): Promise<void> {
  const [latent, context] = [await golden.array(`${name}.unet.latent`), await golden.array(`${name}.text_hidden`)];
  const { data } = await model.predictNoise(latent, golden.number("timestep", c), context);
  rows.compare(name, "unet.eps", data, await golden.floats(`${name}.unet.eps`), rows.tolerances.model);
}

async function checkGradient({ golden, rows, model }: Subject, c: Case, name: string): Promise<void> {
  const [latents, noise] = [await golden.array(`${name}.grad.x0`), await golden.array(`${name}.grad.noise`)];
  const timestep = golden.number("timestep", c);
  rows.compare(
    name,
    "grad.noised",
    model.addNoise(latents, noise, timestep).noised.data,
    await golden.floats(`${name}.grad.noised`),
    TOLERANCES.opForward,
  );
  const { loss, gradient } = await model.noiseLoss({ latents, noise, timestep, ids: await golden.ints(`${name}.input_ids`) });
  rows.compare(name, "grad.loss", [loss], await golden.floats(`${name}.grad.loss`), rows.tolerances.model);
  if (typeof c["loss"] === "number") rows.compare(name, "loss", [loss], [c["loss"]], rows.tolerances.model);
  rows.compare(
    name,
    "grad.token_embeddings",
    gradient.data,
    await golden.floats(`${name}.grad.token_embeddings`),
    rows.tolerances.embeddingGradient,
  );
}

async function sample({ golden, plan, guidance }: Subject, model: StableDiffusion, name: string): Promise<NDArray> {
  const negative = model.tokenizer.encode(golden.text("unconditional_prompt"));
  const [last] = await sampleLatents(model, {
    ids: await golden.ints(`${name}.input_ids`),
    negative,
    noise: await golden.array(`${name}.ddim.initial`),
    plan,
    guidance,
  });
  return last!;
}

async function checkSample(s: Subject, c: Case, name: string): Promise<void> {
  const last = await sample(s, s.model, name);
  s.rows.compare(name, "ddim.final", last.data, await s.golden.floats(`${name}.ddim.final`), s.rows.tolerances.sample);
  if (typeof c["image"] === "string") await comparePng(s, s.model, last, c["image"], name, "image");
}

/** A sampled picture and the PNG beside the JSON. */
async function comparePng(
  { golden, rows, context }: Subject,
  model: StableDiffusion,
  latents: NDArray,
  file: string,
  name: string,
  tensor: string,
): Promise<void> {
  const path = joinPath(golden.path.slice(0, golden.path.lastIndexOf("/")), file);
  const stored = await decodePng(path, await readFile(context.files, path));
  const decoded = await model.decodeLatents(latents);
  rows.compare(name, tensor, tensorToImages(decoded.data, decoded.shape)[0]!.data, stored.data, rows.tolerances.levels, "levels");
}

async function readFile(files: FileSystem, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await files.open(path);
  try {
    return await readAll(source);
  } finally {
    await source.close();
  }
}

async function checkVae({ golden, rows, model }: Subject, _c: Case, name: string): Promise<void> {
  const decoded = await model.decodeLatents(await golden.array(`${name}.ddim.final`));
  const expected = await golden.array(`${name}.vae.decoded`);
  rows.compare(name, "vae.decoded", decoded.data, expected.data, rows.tolerances.model);
  const input = await golden.array(`${name}.classifier.input`);
  rows.compare(name, "classifier.input", imagesToTensor(tensorToImages(expected.data, expected.shape)).data, input.data, 1e-6, "absolute");
  const { scalingFactor } = model.parts.vae.config;
  const { mean, logvar } = await model.encodeMoments(input);
  rows.compare(name, "vae.encode_mean", mean.data, await golden.floats(`${name}.vae.encode_mean`), rows.tolerances.model);
  rows.compare(name, "vae.encode_logvar", logvar.data, await golden.floats(`${name}.vae.encode_logvar`), rows.tolerances.model);
  const stated = golden.json["latent_scaling_factor"];
  if (typeof stated === "number") rows.compare(name, "latent_scaling_factor", [scalingFactor], [stated], 1e-6);
}

/** `<i>.classifier.<which>_logits` of the classifier in the model's folder `classifier/<which>`. */
async function checkClassifiers({ golden, rows, context }: Subject, c: Case, name: string): Promise<void> {
  const prefix = `${name}.classifier.`;
  for (const tensor of golden.names().filter((n) => n.startsWith(prefix) && n.endsWith("_logits"))) {
    const which = tensor.slice(prefix.length, -"_logits".length);
    const classifier = await loadClassifier(await context.device(), {
      files: context.files,
      folder: joinPath(context.modelFolder, `classifier/${which}`),
    });
    const { logits } = await classifier.run(await golden.array(`${prefix}input`));
    rows.compare(name, `classifier.${which}_logits`, logits, await golden.floats(tensor), rows.tolerances.model);
    const best = logits.indexOf(Math.max(...logits));
    const label = c[`${which}_top1`];
    if (typeof label === "string") {
      rows.error(name, `${which}_top1`, classifier.labels[best] === label ? 0 : 1, 0, "mismatches", `"${classifier.labels[best] ?? ""}"`);
    }
    await classifier.destroy();
  }
}

/** `<i>.unlearned_<variant>.*`: the same inputs through the model's variant of that name in its folder `unlearned`. */
async function checkUnlearned(s: Subject, c: Case, name: string): Promise<void> {
  const { golden, rows, context } = s;
  const variants = new Set(
    golden.names().flatMap((n) => (n.startsWith(`${name}.unlearned_`) ? [n.slice(name.length + 1).split(".")[0]!] : [])),
  );
  for (const variant of variants) {
    const model = await unlearned(context, variant.slice("unlearned_".length));
    if (golden.has(`${name}.${variant}.eps`)) {
      const { data } = await model.predictNoise(
        await golden.array(`${name}.unet.latent`),
        golden.number("timestep", c),
        await golden.array(`${name}.text_hidden`),
      );
      rows.compare(name, `${variant}.eps`, data, await golden.floats(`${name}.${variant}.eps`), rows.tolerances.model);
    }
    if (!golden.has(`${name}.${variant}.ddim_final`)) continue;
    const last = await sample(s, model, name);
    rows.compare(name, `${variant}.ddim_final`, last.data, await golden.floats(`${name}.${variant}.ddim_final`), rows.tolerances.sample);
    const png = typeof c["image"] === "string" ? c["image"].replace(/\.png$/, `_${variant.slice("unlearned_".length)}.png`) : undefined;
    const beside = png && (await context.files.kind(joinPath(golden.path.slice(0, golden.path.lastIndexOf("/")), png)));
    if (png !== undefined && beside === "file") await comparePng(s, model, last, png, name, `${variant}.image`);
  }
}

/** The model with the weights in `unlearned/<variant>` laid over its own; the folder's name may have "-" for "_". */
async function unlearned(context: VerifyContext, variant: string): Promise<StableDiffusion> {
  const folder = joinPath(context.modelFolder, "unlearned");
  const found = (await context.files.list(folder)).find((n) => n.replace(/\/$/, "").replaceAll("-", "_") === variant);
  if (found === undefined) throw new FormatError(folder, `has no variant "${variant}"`);
  const inside = joinPath(folder, found.replace(/\/$/, ""));
  const file = (await context.files.list(inside)).find((n) => /\.(safetensors|pt|bin|ckpt)$/.test(n));
  if (file === undefined) throw new FormatError(inside, "holds no weights");
  const path = joinPath(inside, file);
  return context.model(path, /text_encoder/.test(file) ? { textEncoder: path } : { unet: path });
}
