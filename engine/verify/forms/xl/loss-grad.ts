import type { Value } from "../../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../../kernels/loss.ts";
import { slice } from "../../../../kernels/slice.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { LossKind, StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Form } from "../../context.ts";
import type { Golden, Json } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import { asStored } from "../model/unet.ts";
import type { Rows } from "../../rows.ts";
import { encodersOf, sizesOf, splitEncoding } from "./encoding.ts";

export interface XlLossRequest {
  /** Framed ids of the first tokenizer, [length]. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Latents as the UNet sees them and what it should predict, [1, C, h, w]. */
  readonly noised: NDArray;
  readonly target: NDArray;
  readonly timestep: number;
  readonly sizes: SizeConditions;
  readonly loss: LossKind;
  /** Modules whose output's gradient is wanted; needs a recording of its own, without fused epilogues. */
  readonly modules?: readonly string[];
}

/** Results in the order of the reference (channels first); `d_` is the gradient of the loss for a tensor. */
export type XlLossResult = Readonly<Record<string, Float32Array>>;

const IMAGES: ReadonlySet<string> = new Set(["eps", "d_eps", "d_x_t"]);

/**
 * The noise-prediction loss and its gradients for everything between it and the one-hot rows that both encoders share.
 * @throws Error for a module that the UNet does not have
 */
export async function xlLossAndGradients(model: StableDiffusion, request: XlLossRequest): Promise<XlLossResult> {
  const { ids, timestep, loss, modules = [] } = request;
  const { first, second } = encodersOf(model);
  const [noised, target] = [channelsLast(request.noised), channelsLast(request.target)];
  const key = `verify xl loss ${noised.shape.join("x")} ${ids.length} ${loss} ${modules.join()}`;
  const program = await model.program(key, (g) => {
    const prompts = g.input("ids", { shape: [1, ids.length], dtype: "u32" });
    const embeds = model.recordEmbeddings(g, prompts);
    const encoding = model.recordTextEncoder(g, embeds, prompts);
    const x = g.input("noised", { shape: noised.shape, dtype: "f32" });
    const features = g.input("features", { shape: [1, model.featureWidth], dtype: "f32" });
    const eps = model.recordUNet(g, x, features, encoding, modules.length === 0);
    const objective = (loss === "mse" ? mseLoss : l1Loss)(g, eps, g.input("target", { shape: target.shape, dtype: "f32" }));
    const wanted: Record<string, Value> = { d_eps: eps, d_encoding: encoding, d_x_t: x, d_embeds: embeds };
    for (const name of modules) {
      const value = g.captured.get(name);
      if (!value) throw new Error(`the UNet has no module "${name}"`);
      wanted[`d_act.${name}`] = value;
    }
    const outputs: Record<string, Value> = { loss: objective, eps, encoding };
    const computed = gradients(g, objective, Object.values(wanted), undefined, model.rescaleAt(eps, encoding));
    Object.keys(wanted).forEach((name, i) => (outputs[name] = computed[i]!));
    const width = first.config.hiddenSize;
    outputs["d_embeds_1"] = slice(g, outputs["d_embeds"]!, 0, width);
    outputs["d_embeds_2"] = slice(g, outputs["d_embeds"]!, width, second.config.hiddenSize);
    outputs["d_onehot"] = model.text.timesTable(g, outputs["d_embeds"]!);
    return { outputs };
  });
  await program.run({ ids, noised: noised.data, target: target.data, features: model.timestepFeatures([timestep], request.sizes) });
  const read = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
  const shape = model.encodingShape(1, ids.length);
  const parts = splitEncoding({ data: read["encoding"]!, shape }, second.projectionWidth);
  const gradient = splitEncoding({ data: read["d_encoding"]!, shape }, second.projectionWidth);
  const stored = Object.entries(read).map(([name, data]): [string, Float32Array] => [
    name,
    IMAGES.has(name) ? channelsFirst({ data, shape: noised.shape }).data : data,
  ]);
  return {
    ...Object.fromEntries(stored),
    ctx: parts.context.data,
    text_embeds: parts.pooled.data,
    d_ctx: gradient.context.data,
    d_text_embeds: gradient.pooled.data,
  };
}

/** The share of the second encoder's gradient that comes through the pooled text, from the encoding's gradient [1, rows, D]. */
async function pooledPart(model: StableDiffusion, ids: Uint32Array<ArrayBuffer>, gradient: Float32Array): Promise<Float32Array> {
  const { first, second } = encodersOf(model);
  const shape = model.encodingShape(1, ids.length);
  const program = await model.program(`verify xl pooled ${ids.length}`, (g) => {
    const prompts = g.input("ids", { shape: [1, ids.length], dtype: "u32" });
    const embeds = model.recordEmbeddings(g, prompts);
    const encoding = model.recordTextEncoder(g, embeds, prompts);
    const [through] = gradients(g, encoding, [embeds], g.input("cotangent", { shape, dtype: "f32" }));
    return { outputs: { part: slice(g, through!, first.config.hiddenSize, second.config.hiddenSize) } };
  });
  return program.computeFloats({ ids, cotangent: Float32Array.from(gradient).fill(0, 0, (shape[1] - 1) * shape[2]) }, "part");
}

/** `golden_loss_grad` of SDXL: the loss at the listed timesteps and its gradient for every listed tensor. */
export const xlLossGrad: Form = async (golden, rows, context) => {
  const model = await context.model();
  if (golden.has("alphas_cumprod")) {
    rows.compare("noise schedule", "alphas_cumprod", model.alphasCumprod, await golden.floats("alphas_cumprod"), 0, "mismatches");
  }
  const ids = Uint32Array.from(await golden.ints("ids_1"));
  await rows.guard("ids", "ids_2", () => checkPadding(golden, rows, model, ids));
  const shared = new Set(["ctx", "text_embeds"]);
  for (const c of golden.cases) await rows.guard(c.name, "loss", () => checkCase(golden, rows, model, c, ids, shared));
};

/** That the second encoder's ids follow from the first one's. */
async function checkPadding(golden: Golden, rows: Rows, model: StableDiffusion, ids: Uint32Array): Promise<void> {
  const { eosId, padId } = encodersOf(model).second;
  const end = ids.indexOf(eosId);
  rows.compare("ids", "ids_2", [...ids].map((id, i) => (end >= 0 && i > end ? padId : id)), await golden.ints("ids_2"), 0, "mismatches");
}

async function checkCase(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  c: Json & { readonly name: string },
  ids: Uint32Array<ArrayBuffer>,
  shared: Set<string>,
): Promise<void> {
  const [, time, kind] = /^t(\d+)\.(mse|l1)$/.exec(c.name) ?? [];
  if (time === undefined || kind === undefined) throw new Error(`the name "${c.name}" is not t<timestep>.<mse or l1>`);
  const timestep = Number(time);
  const { noised, target } = model.addNoise(await golden.array("x0"), await golden.array("noise"), timestep);
  const [sizes] = sizesOf(golden.source, await golden.array("time_ids")) as [SizeConditions];
  const request: XlLossRequest = { ids, noised, target, timestep, sizes, loss: kind as LossKind };
  const results: Record<string, Float32Array> = { x_t: noised.data, target: target.data, ...(await xlLossAndGradients(model, request)) };
  const own = golden.names().flatMap((n) => (n.includes(`.${c.name}`) ? [n] : []));
  const nameOf = (tensor: string): string => tensor.slice(0, tensor.indexOf(`.${c.name}`));
  const modules = own.flatMap((n) => (n.startsWith("d_act.") ? [nameOf(n).slice("d_act.".length)] : []));
  if (modules.length > 0) {
    const again = await xlLossAndGradients(model, { ...request, modules });
    for (const name of modules) {
      const stored = golden.shape(`d_act.${name}.${c.name}`);
      const [n, channels, ...rest] = stored as [number, number, ...number[]];
      const data = again[`d_act.${name}`] as Float32Array<ArrayBuffer>;
      results[`d_act.${name}`] = asStored(data, [n, ...rest, channels], stored);
    }
  }
  if (own.some((n) => nameOf(n) === "d_embeds_2_pooled_part")) {
    results["d_embeds_2_pooled_part"] = await pooledPart(model, ids, results["d_encoding"]!);
  }
  for (const tensor of own) {
    const name = nameOf(tensor);
    const actual = results[name];
    if (!actual) continue; // reported as a tensor without a check
    const expected = await golden.floats(tensor);
    // `NAME.CASE.first16`: of the first positions only
    const shown = /\.first\d+$/.test(tensor) ? actual.subarray(0, expected.length) : actual;
    const { embeddingGradient, model: forward } = rows.tolerances;
    rows.compare(c.name, tensor.replace(`.${c.name}`, ""), shown, expected, name.startsWith("d_") ? embeddingGradient : forward);
  }
  if (typeof c["loss"] === "number") rows.compare(c.name, "loss (listed)", results["loss"]!, [c["loss"]], rows.tolerances.model);
  for (const name of shared) {
    if (golden.has(name)) rows.compare(c.name, name, results[name]!, await golden.floats(name), rows.tolerances.model);
    shared.delete(name);
  }
}
