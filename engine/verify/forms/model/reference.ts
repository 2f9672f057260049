import { FormatError } from "../../../formats/errors.ts";
import { joinPath } from "../../../formats/file-system.ts";
import { tensorToImages, imagesToTensor } from "../../../formats/picture/image.ts";
import type { NDArray } from "../../../nn/array.ts";
import { loadClassifier } from "../../../vision/image-classifier.ts";
import { type SamplerPlan, createSamplerPlan } from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { Check, type Form } from "../../check.ts";
import type { VerifyContext } from "../../context.ts";
import type { Json } from "../../golden.ts";
import { referencePicture, sampleSteps } from "../../pictures.ts";
import { TOLERANCES } from "../../rows.ts";

type IndexedCase = Json & { readonly index: number };

/** A reference under check, with its model and how its pictures are sampled. */
class ReferenceCheck extends Check {
  constructor(check: Check, readonly model: StableDiffusion, readonly plan: SamplerPlan) {
    super(check.golden, check.rows, check.context);
  }
}

/**
 * `reference`: a model's own pictures and everything on the way to them, and the same through its unlearned variants; described in its
 * JSON.
 */
export const reference: Form = async (plain) => {
  const { golden, rows, context } = plain;
  const model = await context.model();
  const ddim = golden.object("ddim");
  const eta = golden.number("eta", ddim);
  const plan = createSamplerPlan("ddim", { ...model.parts.scheduler, ...ddim }, golden.number("steps", ddim), { eta });
  rows.compare("ddim", "timesteps", plan.steps.map((s) => s.timestep), golden.numbers("timesteps", ddim), 0, "mismatches");
  const check = new ReferenceCheck(plain, model, plan);
  if (golden.has("uncond.text_hidden")) await rows.guard("uncond", "text_hidden", () => checkUnconditional(check));
  for (const [i, entry] of golden.list("cases").entries()) {
    const c = entry as IndexedCase;
    if (typeof c?.index !== "number") throw new FormatError(golden.path, `case ${i} has no "index"`);
    const name = String(c.index);
    // Each names a tensor and is run alone, so that one failure does not hide the others.
    const checks: readonly [string, (check: ReferenceCheck, c: IndexedCase, name: string) => Promise<void>][] = [
      ["text_hidden", checkText],
      ["unet.eps", checkUNet],
      ["grad.token_embeddings", checkGradient],
      ["ddim.final", checkSample],
      ["vae.decoded", checkVae],
      ["classifier", checkClassifiers],
      ["unlearned", checkUnlearned],
    ];
    for (const [tensor, one] of checks) await rows.guard(name, tensor, () => one(check, c, name));
  }
};

async function checkUnconditional(check: ReferenceCheck): Promise<void> {
  const { golden, model } = check;
  await check.compare("uncond", "input_ids", model.tokenizer.encode(golden.text("unconditional_prompt")));
  await check.compare("uncond", "text_hidden", await model.encodeText(await golden.ints("uncond.input_ids")));
}

async function checkText(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  const { golden, rows, model } = check;
  const own = model.tokenizer.encode(golden.text("prompt", c));
  await check.compare(name, "input_ids", own);
  if (c["tokens"] !== undefined) {
    const pieces = golden.list("tokens", c);
    const made = model.tokenizer.pieces(own);
    rows.error(name, "tokens", pieces.filter((p, i) => p !== made[i]).length + Math.abs(made.length - pieces.length), 0, "mismatches");
  }
  await check.compare(name, "text_hidden", await model.encodeText(await golden.ints(`${name}.input_ids`)));
}

async function checkUNet(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  await check.compare(name, "unet.eps", await predicted(check, check.model, c, name));
}

/** A model's prediction for the case's latent, timestep and text. */
async function predicted({ golden }: ReferenceCheck, model: StableDiffusion, c: IndexedCase, name: string): Promise<NDArray> {
  return model.predictNoise(
    await golden.array(`${name}.unet.latent`),
    golden.number("timestep", c),
    await golden.array(`${name}.text_hidden`),
  );
}

async function checkGradient(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  const { golden, rows, model, tolerances } = check;
  const [latents, noise] = [await golden.array(`${name}.grad.x0`), await golden.array(`${name}.grad.noise`)];
  const timestep = golden.number("timestep", c);
  await check.compare(name, "grad.noised", model.addNoise(latents, noise, timestep).noised, TOLERANCES.opForward);
  const { loss, gradient } = await model.noiseLoss({ latents, noise, timestep, ids: await golden.ints(`${name}.input_ids`) });
  await check.compare(name, "grad.loss", [loss]);
  if (typeof c["loss"] === "number") rows.compare(name, "loss", [loss], [c["loss"]], tolerances.model);
  await check.compare(name, "grad.token_embeddings", gradient, tolerances.embeddingGradient);
}

/** The latents that a model ends with for the case's prompt and noise. */
async function sampled({ golden, plan }: ReferenceCheck, model: StableDiffusion, name: string): Promise<NDArray> {
  const steps = await sampleSteps(model, {
    context: await model.encodeText(await golden.ints(`${name}.input_ids`)),
    unconditional: await model.encodeText(model.tokenizer.encode(golden.text("unconditional_prompt"))),
    noise: await golden.array(`${name}.ddim.initial`),
    plan,
    guidance: golden.number("guidance", golden.object("ddim")),
  });
  return steps.at(-1)!;
}

async function checkSample(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  const last = await sampled(check, check.model, name);
  await check.compare(name, "ddim.final", last, check.tolerances.sample);
  if (typeof c["image"] === "string") await comparePng(check, check.model, last, c["image"], name, "image");
}

/** A sampled picture and the PNG beside the JSON. */
async function comparePng(
  { golden, rows, context }: ReferenceCheck,
  model: StableDiffusion,
  latents: NDArray,
  file: string,
  name: string,
  tensor: string,
): Promise<void> {
  const stored = await referencePicture(golden, context.files, file);
  const decoded = await model.decodeLatents(latents);
  rows.compare(name, tensor, tensorToImages(decoded.data, decoded.shape)[0]!.data, stored.data, rows.tolerances.levels, "levels");
}

async function checkVae(check: ReferenceCheck, _c: IndexedCase, name: string): Promise<void> {
  const { golden, rows, model } = check;
  await check.compare(name, "vae.decoded", await model.decodeLatents(await golden.array(`${name}.ddim.final`)));
  const expected = await golden.array(`${name}.vae.decoded`);
  const prepared = imagesToTensor(tensorToImages(expected.data, expected.shape));
  await check.compare(name, "classifier.input", prepared, 1e-6, { measure: "absolute" });
  const { mean, logvar } = await model.encodeMoments(await golden.array(`${name}.classifier.input`));
  await check.compare(name, "vae.encode_mean", mean);
  await check.compare(name, "vae.encode_logvar", logvar);
  const stated = golden.json["latent_scaling_factor"];
  if (typeof stated === "number") {
    rows.compare(name, "latent_scaling_factor", [model.parts.vae.config.scalingFactor], [stated], 1e-6);
  }
}

/** `<i>.classifier.<which>_logits` of the classifier in the model's folder `classifier/<which>`. */
async function checkClassifiers(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  const { golden, rows, context } = check;
  const prefix = `${name}.classifier.`;
  for (const tensor of golden.namesAfter(prefix).filter((n) => n.endsWith("_logits"))) {
    const which = tensor.slice(0, -"_logits".length);
    const folder = joinPath(context.modelFolder, `classifier/${which}`);
    const classifier = await loadClassifier(await context.device(), { files: context.files, folder });
    const { logits } = await classifier.run(await golden.array(`${prefix}input`));
    await check.compare(name, `classifier.${tensor}`, logits);
    const best = logits.indexOf(Math.max(...logits));
    const label = c[`${which}_top1`];
    if (typeof label === "string") {
      rows.error(name, `${which}_top1`, classifier.labels[best] === label ? 0 : 1, 0, "mismatches", `"${classifier.labels[best] ?? ""}"`);
    }
    await classifier.destroy();
  }
}

/** `<i>.unlearned_<variant>.*`: the same inputs through the model's variant of that name in its folder `unlearned`. */
async function checkUnlearned(check: ReferenceCheck, c: IndexedCase, name: string): Promise<void> {
  const { golden, context, tolerances } = check;
  const variants = new Set(golden.namesAfter(`${name}.unlearned_`).map((n) => n.split(".")[0]!));
  for (const variant of variants) {
    const model = await unlearned(context, variant);
    const tensor = `unlearned_${variant}`;
    if (golden.has(`${name}.${tensor}.eps`)) await check.compare(name, `${tensor}.eps`, await predicted(check, model, c, name));
    if (!golden.has(`${name}.${tensor}.ddim_final`)) continue;
    const last = await sampled(check, model, name);
    await check.compare(name, `${tensor}.ddim_final`, last, tolerances.sample);
    if (typeof c["image"] !== "string") continue;
    const png = c["image"].replace(/\.png$/, `_${variant}.png`);
    const beside = await context.files.kind(joinPath(golden.folder, png));
    if (beside === "file") await comparePng(check, model, last, png, name, `${tensor}.image`);
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
