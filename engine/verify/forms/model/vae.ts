import type { Value } from "../../../../kernels/kernel.ts";
import { scale } from "../../../../kernels/elementwise.ts";
import { gradients } from "../../../runtime/autodiff.ts";
import type { Graph } from "../../../runtime/graph.ts";
import { Layers } from "../../../nn/layers.ts";
import { vaeDecode, vaeEncode } from "../../../diffusion/vae.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Form } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import type { Rows } from "../../rows.ts";
import { compareCaptured } from "./unet.ts";

const ACTIVATION = "act.";
const LOGVAR_LIMITS = [-30, 20] as const; // diffusers' DiagonalGaussianDistribution

/** `golden_vae`: encoder and decoder with the gradients for their inputs, and the output of every listed module. */
export const vae: Form = async (golden, rows, context) => {
  const model = await context.model();
  const { scalingFactor } = model.parts.vae.config;
  // Some references hold latents as the UNet sees them, and say so.
  const scaled = typeof golden.json["scaling"] === "string";
  for (const { name } of golden.cases) {
    await rows.guard(name, "mean", () => oneWay(golden, rows, model, name, "image", "mean", (g, x) => model.recordEncoder(g, x)));
    await rows.guard(name, "decoded", () =>
      oneWay(golden, rows, model, name, "z", "decoded", (g, x) => ({
        decoded: model.recordDecoder(g, scaled ? scale(g, x, 1 / scalingFactor) : x),
      })),
    );
    if (golden.has(`${name}.latent`)) await rows.guard(name, "latent", () => checkLatent(golden, rows, model, name));
  }
  const modules = golden.names().filter((n) => n.startsWith(ACTIVATION));
  if (modules.length > 0) await rows.guard("modules", "act", () => checkModules(golden, rows, model, modules));
};

/** The product's own encoding of a picture, scaled. */
async function checkLatent(golden: Golden, rows: Rows, model: StableDiffusion, name: string): Promise<void> {
  const { data } = await model.encodeImage(await golden.array(`${name}.image`));
  rows.compare(name, "latent", data, await golden.floats(`${name}.latent`), rows.tolerances.model);
}

/** `from` to `to` and the vector-Jacobian product back. */
async function oneWay(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  from: string,
  to: string,
  record: (g: Graph, x: Value) => Readonly<Record<string, Value>>,
): Promise<void> {
  if (!golden.has(`${name}.${from}`)) return;
  const input = channelsLast(await golden.array(`${name}.${from}`));
  const cotangent = golden.has(`${name}.${to}.g`) ? channelsLast(await golden.array(`${name}.${to}.g`)) : undefined;
  const shapes: Record<string, readonly number[]> = {};
  const program = await model.program(`verify vae ${to} ${input.shape.join("x")} ${cotangent !== undefined}`, (g) => {
    const x = g.input("x", { shape: input.shape, dtype: "f32" });
    const outputs: Record<string, Value> = { ...record(g, x) };
    if (cotangent) {
      outputs[`${from}.g`] = gradients(g, outputs[to]!, [x], g.input("cotangent", { shape: cotangent.shape, dtype: "f32" }))[0]!;
    }
    for (const [key, value] of Object.entries(outputs)) shapes[key] = value.type.shape;
    return { outputs };
  });
  await program.run({ x: input.data, ...(cotangent && { cotangent: cotangent.data }) });
  const computed = await program.read();
  for (const [key, numbers] of Object.entries(computed)) {
    const tensor = `${name}.${key}`;
    if (!golden.has(tensor)) continue;
    const data = channelsFirst({ data: numbers as Float32Array<ArrayBuffer>, shape: shapes[key] ?? golden.shape(tensor) }).data;
    const actual = key === "logvar" ? data.map((v) => Math.min(LOGVAR_LIMITS[1], Math.max(LOGVAR_LIMITS[0], v))) : data;
    rows.compare(name, key, actual, await golden.floats(tensor), key.endsWith(".g") ? rows.tolerances.opGradient : rows.tolerances.model);
  }
}

/** The modules of the first case, recorded without fused epilogues. */
async function checkModules(golden: Golden, rows: Rows, model: StableDiffusion, modules: readonly string[]): Promise<void> {
  const { name } = golden.cases[0]!;
  const image = channelsLast(await golden.array(`${name}.image`));
  const z = channelsLast(await golden.array(`${name}.z`));
  const shapes = new Map<string, readonly number[]>();
  const { config, parameters } = model.parts.vae;
  const program = await model.program(`verify vae modules ${image.shape.join("x")}`, (g) => {
    const layers = new Layers(g, parameters, false);
    vaeEncode(layers, config, g.input("image", { shape: image.shape, dtype: "f32" }));
    vaeDecode(layers, config, g.input("z", { shape: z.shape, dtype: "f32" }));
    const outputs: Record<string, Value> = {};
    for (const module of modules) {
      const value = g.captured.get(module.slice(ACTIVATION.length));
      if (!value) continue;
      outputs[module] = value;
      shapes.set(module, value.type.shape);
    }
    return { outputs };
  });
  await program.run(Object.fromEntries(Object.entries({ image: image.data, z: z.data }).filter(([key]) => program.hasInput(key))));
  await compareCaptured(golden, rows, modules, shapes, await program.read());
}
