import { scale } from "../../../../kernels/elementwise.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import type { Graph } from "../../../runtime/graph.ts";
import { Layers } from "../../../nn/layers.ts";
import { vaeDecode, vaeEncode } from "../../../diffusion/vae.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Check, Form } from "../../check.ts";
import { type Inputs, type Values, capturedOf, compute } from "../../compute.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import { compareCaptured } from "./unet.ts";

const ACTIVATION = "act.";

/** A log variance within the limits of diffusers' DiagonalGaussianDistribution. */
export function clampedLogvar(logvar: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return logvar.map((x) => Math.min(20, Math.max(-30, x)));
}

/** `golden_vae`: encoder and decoder with the gradients for their inputs, and the output of every listed module. */
export const vae: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  const { scalingFactor } = model.parts.vae.config;
  // Some references hold latents as the UNet sees them, and say so.
  const scaled = typeof golden.json["scaling"] === "string";
  for (const { name } of golden.cases) {
    await rows.guard(name, "mean", () =>
      oneWay(check, model, name, "image", "mean", (g, v) => ({ ...model.recordEncoder(g, v["image"]!) })),
    );
    await rows.guard(name, "decoded", () =>
      oneWay(check, model, name, "z", "decoded", (g, v) => ({
        decoded: model.recordDecoder(g, scaled ? scale(g, v["z"]!, 1 / scalingFactor) : v["z"]!),
      })),
    );
    if (!golden.has(`${name}.latent`)) continue;
    await rows.guard(name, "latent", async () =>
      check.compare(name, "latent", await model.encodeImage(await golden.array(`${name}.image`))),
    );
  }
  const modules = golden.namesAfter(ACTIVATION);
  if (modules.length > 0) await rows.guard("modules", "act", () => checkModules(check, model, modules));
};

/** `from` to `to` and the vector-Jacobian product back. */
async function oneWay(
  check: Check,
  model: StableDiffusion,
  name: string,
  from: string,
  to: string,
  record: (g: Graph, v: Values) => Values,
): Promise<void> {
  const { golden, tolerances } = check;
  if (!golden.has(`${name}.${from}`)) return;
  const inputs: Inputs = {
    [from]: channelsLast(await golden.array(`${name}.${from}`)),
    ...(golden.has(`${name}.${to}.g`) && { cotangent: channelsLast(await golden.array(`${name}.${to}.g`)) }),
  };
  const computed = await compute(model, `vae ${to}`, inputs, (g, v) => {
    const outputs = record(g, v);
    return v["cotangent"] ? { ...outputs, [`${from}.g`]: gradients(g, outputs[to]!, [v[from]!], v["cotangent"])[0]! } : outputs;
  });
  for (const [tensor, made] of Object.entries(computed)) {
    const { data } = channelsFirst(made);
    const actual = tensor === "logvar" ? clampedLogvar(data) : data;
    await check.compare(name, tensor, actual, tensor.endsWith(".g") ? tolerances.opGradient : tolerances.model, { optional: true });
  }
}

/** The modules of the first case, recorded without fused epilogues. */
async function checkModules(check: Check, model: StableDiffusion, modules: readonly string[]): Promise<void> {
  const { golden } = check;
  const { name } = golden.cases[0]!;
  const inputs = { image: channelsLast(await golden.array(`${name}.image`)), z: channelsLast(await golden.array(`${name}.z`)) };
  const { config, parameters } = model.parts.vae;
  const computed = await compute(model, "vae modules", inputs, (g, v) => {
    const layers = new Layers(g, parameters, false);
    vaeEncode(layers, config, v["image"]!);
    vaeDecode(layers, config, v["z"]!);
    return capturedOf(g, modules, (module) => ACTIVATION + module);
  });
  await compareCaptured(check, modules, computed);
}
