import type { Value } from "../../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../../kernels/loss.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import type { Graph } from "../../../runtime/graph.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { LossKind, StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Check, Form } from "../../check.ts";
import { type Inputs, type Values, compute } from "../../compute.ts";
import type { Case } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import { encodersOf, sizesIn, splitEncoding } from "./encoding.ts";
import { asStored } from "./unet.ts";

export interface LossRequest {
  /** Framed ids, [length]; of the first tokenizer. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Latents as the UNet sees them and what it should predict, [1, C, h, w]. */
  readonly noised: NDArray;
  readonly target: NDArray;
  readonly timestep: number;
  readonly loss: LossKind;
  /** SDXL's. */
  readonly sizes?: readonly SizeConditions[] | undefined;
  /** Modules whose output's gradient is wanted; needs a recording of its own, without fused epilogues. */
  readonly modules?: readonly string[];
}

/** Results in the order of the reference (channels first); `d_` is the gradient of the loss for a tensor. */
export type LossResult = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

/** Results that are latents. */
const IMAGES: ReadonlySet<string> = new Set(["eps", "d_eps", "d_x_t"]);

/** What `recordLoss` takes of a request. */
export function lossInputs(model: StableDiffusion, { ids, noised, target, timestep, sizes }: LossRequest): Inputs {
  return {
    ids: { data: ids, shape: [1, ids.length] },
    noised: channelsLast(noised),
    target: channelsLast(target),
    features: { data: model.timestepFeatures([timestep], sizes), shape: [1, model.featureWidth] },
  };
}

/** The noise-prediction loss on a graph, what lies between it and the ids, and `rescale` for its gradients. */
export function recordLoss(model: StableDiffusion, g: Graph, v: Values, kind: LossKind, fused = true) {
  const embeds = model.recordEmbeddings(g, v["ids"]!);
  const encoding = model.recordTextEncoder(g, embeds, v["ids"]!);
  const eps = model.recordUNet(g, v["noised"]!, v["features"]!, encoding, fused);
  const loss = (kind === "mse" ? mseLoss : l1Loss)(g, eps, v["target"]!);
  return { embeds, encoding, eps, loss, rescale: model.rescaleAt(eps, encoding) };
}

/**
 * The noise-prediction loss and its gradients for everything between it and the one-hot rows, which both encoders of SDXL share.
 * @throws Error for a module the UNet does not have
 */
export async function lossAndGradients(model: StableDiffusion, request: LossRequest): Promise<LossResult> {
  const { loss: kind, modules = [] } = request;
  const computed = await compute(model, `loss ${kind} ${modules.join()}`, lossInputs(model, request), (g, v) => {
    const { loss, eps, encoding, embeds, rescale } = recordLoss(model, g, v, kind, modules.length === 0);
    const wanted: Record<string, Value> = { d_eps: eps, d_encoding: encoding, d_x_t: v["noised"]!, d_embeds: embeds };
    for (const name of modules) {
      const value = g.captured.get(name);
      if (!value) throw new Error(`the UNet has no module "${name}"`);
      wanted[`d_act.${name}`] = value;
    }
    const found = gradients(g, loss, Object.values(wanted), undefined, rescale);
    const named = Object.fromEntries(Object.keys(wanted).map((name, i) => [name, found[i]!]));
    return { loss, eps, encoding, embeds, ...named, d_onehot: model.text.timesTable(g, named["d_embeds"]!) };
  });
  const parts = Object.entries(splitEncoding(model, computed["encoding"]!)) as [string, NDArray][];
  const partGradients = Object.entries(splitEncoding(model, computed["d_encoding"]!)) as [string, NDArray][];
  const all = [...Object.entries(computed), ...parts, ...partGradients.map(([name, d]): [string, NDArray] => [`d_${name}`, d])];
  return {
    ...Object.fromEntries(all.map(([name, array]) => [name, (IMAGES.has(name) ? channelsFirst(array) : array).data])),
    ...gradientOfEach(model, computed["d_embeds"]!.data),
  };
}

/** The columns of a gradient for embeddings [.., tokenWidth] that are each encoder's. */
function gradientOfEach({ text }: StableDiffusion, gradient: Float32Array<ArrayBuffer>): LossResult {
  let end = 0;
  return Object.fromEntries(
    text.tokenWidths.map((width, i) => {
      const from = end;
      end += width;
      const own = (at: number): boolean => at % text.tokenWidth >= from && at % text.tokenWidth < from + width;
      return [`d_embeds_${i + 1}`, gradient.filter((_, at) => own(at))];
    }),
  );
}

/** The share of the second encoder's gradient that comes through the pooled text, from the encoding's gradient [1, rows, D]. */
async function pooledPart(model: StableDiffusion, ids: Uint32Array<ArrayBuffer>, gradient: Float32Array): Promise<LossResult[string]> {
  const shape = model.encodingShape(1, ids.length);
  const cotangent = { data: Float32Array.from(gradient).fill(0, 0, (shape[1] - 1) * shape[2]), shape };
  const { through } = await compute(model, "pooled", { ids: { data: ids, shape: [1, ids.length] }, cotangent }, (g, v) => {
    const embeds = model.recordEmbeddings(g, v["ids"]!);
    return { through: gradients(g, model.recordTextEncoder(g, embeds, v["ids"]!), [embeds], v["cotangent"]!)[0]! };
  });
  return gradientOfEach(model, through!.data)["d_embeds_2"]!;
}

/** Timestep and loss of a case by its name. @throws Error for one that is not understood */
export function lossOf({ name }: Case): { readonly timestep: number; readonly loss: LossKind } {
  const [, time, kind] = /^t(\d+)\.(mse|l1)$/.exec(name) ?? [];
  if (time === undefined || kind === undefined) throw new Error(`the name "${name}" is not t<timestep>.<mse or l1>`);
  return { timestep: Number(time), loss: kind as LossKind };
}

/** `golden_loss_grad`: the loss at the listed timesteps and its gradient for every listed tensor. */
export const lossGrad: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  await check.compare("noise schedule", "alphas_cumprod", model.alphasCumprod, 0, {
    key: "alphas_cumprod", measure: "mismatches", optional: true,
  });
  const ids = await golden.ids(golden.has("ids_1") ? "ids_1" : "ids");
  if (golden.has("ids_2")) await rows.guard("ids", "ids_2", () => checkPadding(check, model, ids));
  await check.cases("loss", (c) => checkCase(check, model, c, ids));
};

/** That the second encoder's ids follow from the first one's. */
async function checkPadding(check: Check, model: StableDiffusion, ids: Uint32Array): Promise<void> {
  const { eosId, padId } = encodersOf(model).second;
  const end = ids.indexOf(eosId);
  await check.compare("ids", "ids_2", [...ids].map((id, i) => (end >= 0 && i > end ? padId : id)), 0, { key: "ids_2" });
}

async function checkCase(check: Check, model: StableDiffusion, c: Case, ids: Uint32Array<ArrayBuffer>): Promise<void> {
  const { golden, tolerances } = check;
  const { timestep, loss } = lossOf(c);
  const { noised, target } = model.addNoise(await golden.array("x0"), await golden.array("noise"), timestep);
  const request: LossRequest = { ids, noised, target, timestep, sizes: await sizesIn(golden), loss };
  const results: Record<string, Float32Array> = { x_t: noised.data, target: target.data, ...(await lossAndGradients(model, request)) };
  const own = golden.names().filter((n) => n.includes(`.${c.name}`));
  const nameOf = (tensor: string): string => tensor.slice(0, tensor.indexOf(`.${c.name}`));
  const modules = own.flatMap((n) => (n.startsWith("d_act.") ? [nameOf(n).slice("d_act.".length)] : []));
  if (modules.length > 0) {
    const again = await lossAndGradients(model, { ...request, modules });
    for (const name of modules.map((module) => `d_act.${module}`)) {
      const stored = golden.shape(`${name}.${c.name}`);
      const [n, channels, ...rest] = stored as [number, number, ...number[]];
      results[name] = asStored({ data: again[name]!, shape: [n, ...rest, channels] }, stored);
    }
  }
  if (own.some((n) => nameOf(n) === "d_embeds_2_pooled_part")) {
    results["d_embeds_2_pooled_part"] = await pooledPart(model, ids, results["d_encoding"]!);
  }
  for (const key of own) {
    const name = nameOf(key);
    const actual = results[name];
    if (!actual) continue; // reported as a tensor without a check
    // `NAME.CASE.first16`: of the first positions only
    const shown = /\.first\d+$/.test(key) ? actual.subarray(0, golden.shape(key).reduce((a, b) => a * b, 1)) : actual;
    const tolerance = name.startsWith("d_") ? tolerances.embeddingGradient : tolerances.model;
    await check.compare(c.name, key.replace(`.${c.name}`, ""), shown, tolerance, { key });
  }
  if (model.isXl && typeof c["loss"] === "number") {
    check.rows.compare(c.name, "loss (listed)", results["loss"]!, [c["loss"]], tolerances.model);
  }
  if (c !== golden.cases[0]) return;
  for (const key of ["ctx", "embeds", "text_embeds"].filter((name) => results[name])) {
    await check.compare(c.name, key, results[key]!, tolerances.model, { key, optional: true });
  }
}
