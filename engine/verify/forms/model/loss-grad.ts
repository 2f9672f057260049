import type { Value } from "../../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../../kernels/loss.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import { Layers } from "../../../nn/layers.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { LossKind, StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { timesTokenTable, tokenTable } from "../../../diffusion/text-encoder.ts";
import type { Form } from "../../context.ts";
import type { Golden, Json } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import type { Rows } from "../../rows.ts";
import { asStored } from "./unet.ts";

export interface LossRequest {
  /** Framed ids, [length]. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Latents as the UNet sees them and what it should predict, [1, C, h, w]. */
  readonly noised: NDArray;
  readonly target: NDArray;
  readonly timestep: number;
  readonly loss: LossKind;
  /** Modules whose output's gradient is wanted; needs a recording of its own, without fused epilogues. */
  readonly modules?: readonly string[];
}

/** Results in the order of the reference (channels first); `d_` is the gradient of the loss for a tensor. */
export type LossResult = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

/** Results that are latents. */
const IMAGES: ReadonlySet<string> = new Set(["eps", "d_eps", "d_x_t"]);

/**
 * The noise-prediction loss and its gradients for everything between it and the one-hot rows.
 * @throws Error for a module the UNet does not have
 */
export async function lossAndGradients(model: StableDiffusion, request: LossRequest): Promise<LossResult> {
  const { ids, timestep, loss, modules = [] } = request;
  const [noised, target] = [channelsLast(request.noised), channelsLast(request.target)];
  const shapes = new Map<string, readonly number[]>();
  const program = await model.program(`verify loss ${noised.shape.join("x")} ${ids.length} ${loss} ${modules.join()}`, (g) => {
    const { config, parameters } = model.parts.textEncoder;
    const embeds = model.recordEmbeddings(g, g.input("ids", { shape: [1, ids.length], dtype: "u32" }));
    const ctx = model.recordTextEncoder(g, embeds);
    const x = g.input("noised", { shape: noised.shape, dtype: "f32" });
    const features = g.input("features", { shape: [1, model.featureWidth], dtype: "f32" });
    const eps = model.recordUNet(g, x, features, ctx, modules.length === 0);
    const objective = (loss === "mse" ? mseLoss : l1Loss)(g, eps, g.input("target", { shape: target.shape, dtype: "f32" }));
    const wanted: Record<string, Value> = { d_eps: eps, d_ctx: ctx, d_x_t: x, d_embeds: embeds };
    for (const name of modules) {
      const value = g.captured.get(name);
      if (!value) throw new Error(`the UNet has no module "${name}"`);
      wanted[`d_act.${name}`] = value;
    }
    const outputs: Record<string, Value> = { loss: objective, eps, ctx, embeds };
    gradients(g, objective, Object.values(wanted), undefined, model.rescaleAt(eps, ctx)).forEach(
      (d, i) => (outputs[Object.keys(wanted)[i]!] = d!),
    );
    outputs["d_onehot"] = timesTokenTable(g, outputs["d_embeds"]!, tokenTable(new Layers(g, parameters), config));
    for (const [name, value] of Object.entries(outputs)) shapes.set(name, value.type.shape);
    return { outputs };
  });
  await program.run({ ids, noised: noised.data, target: target.data, features: model.timestepFeatures([timestep]) });
  const computed = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
  return Object.fromEntries(
    Object.entries(computed).map(([name, data]) => [name, IMAGES.has(name) ? channelsFirst({ data, shape: noised.shape }).data : data]),
  );
}

/** `golden_loss_grad`: the loss at the listed timesteps and its gradient for every listed tensor. */
export const lossGrad: Form = async (golden, rows, context) => {
  const model = await context.model();
  const ids = Uint32Array.from(await golden.ints("ids"));
  const [x0, noise] = [await golden.array("x0"), await golden.array("noise")];
  if (golden.has("alphas_cumprod")) {
    rows.compare("noise schedule", "alphas_cumprod", model.alphasCumprod, await golden.floats("alphas_cumprod"), 0, "mismatches");
  }
  const shared = new Set(["ctx", "embeds"]);
  for (const c of golden.cases) await rows.guard(c.name, "loss", () => checkCase(golden, rows, model, c, { ids, x0, noise }, shared));
};

async function checkCase(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  c: Json & { readonly name: string },
  fixed: { ids: Uint32Array<ArrayBuffer>; x0: NDArray; noise: NDArray },
  shared: Set<string>,
): Promise<void> {
  const [, time, kind] = /^t(\d+)\.(mse|l1)$/.exec(c.name) ?? [];
  if (time === undefined || kind === undefined) throw new Error(`the name "${c.name}" is not t<timestep>.<mse or l1>`);
  const timestep = Number(time);
  const { noised, target } = model.addNoise(fixed.x0, fixed.noise, timestep);
  const own = golden.names().flatMap((n) => (n.endsWith(`.${c.name}`) ? [n.slice(0, -c.name.length - 1)] : []));
  const modules = own.flatMap((n) => (n.startsWith("d_act.") ? [n.slice("d_act.".length)] : []));
  const request = { ids: fixed.ids, noised, target, timestep, loss: kind as LossKind };
  const results: Record<string, Float32Array<ArrayBuffer>> = {
    x_t: noised.data,
    target: target.data,
    ...(await lossAndGradients(model, request)),
  };
  if (modules.length > 0) {
    const again = await lossAndGradients(model, { ...request, modules });
    for (const name of modules) {
      const stored = golden.shape(`d_act.${name}.${c.name}`);
      const [n, channels, ...rest] = stored as [number, number, ...number[]];
      results[`d_act.${name}`] = asStored(again[`d_act.${name}`]!, [n, ...rest, channels], stored);
    }
  }
  for (const name of own) {
    const actual = results[name];
    if (!actual) continue; // reported as a tensor without a check
    rows.compare(
      c.name,
      name,
      actual,
      await golden.floats(`${name}.${c.name}`),
      name.startsWith("d_") ? rows.tolerances.embeddingGradient : rows.tolerances.model,
    );
  }
  for (const name of shared) {
    if (golden.has(name)) rows.compare(c.name, name, results[name]!, await golden.floats(name), rows.tolerances.model);
    shared.delete(name);
  }
}
