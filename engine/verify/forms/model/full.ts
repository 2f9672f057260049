import type { Value } from "../../../../kernels/kernel.ts";
import { Layers } from "../../../nn/layers.ts";
import type { NDArray } from "../../../nn/array.ts";
import { isSynthetic } from "../../../formats/model-source.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { GAIN, type SyntheticName, hashNumbers } from "../../../loading/synthetic.ts";
import { vaeDecode, vaeEncode } from "../../../diffusion/vae.ts";
import type { Graph } from "../../../runtime/graph.ts";
import type { Form, VerifyContext } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import { lossAndGradients } from "./loss-grad.ts";
import type { Rows } from "../../rows.ts";
import { compareModules, statistics } from "../modules.ts";

const LOGVAR_LIMITS = [-30, 20] as const; // diffusers' DiagonalGaussianDistribution

/** The model with made-up weights; these references have no other. @throws Error for weights that it does not have */
async function syntheticModel(golden: Golden, context: VerifyContext): Promise<StableDiffusion> {
  requireSynthetic(golden, context, "sd14");
  return context.model();
}

/** @throws Error unless the model's weights are made up as the reference's are */
export function requireSynthetic(golden: Golden, context: VerifyContext, which: SyntheticName): void {
  if (!isSynthetic(context.modelFolder)) throw new Error(`this reference was made with hashed weights: give --model synthetic:${which}`);
  const { gain = GAIN } = golden.json;
  if (gain !== GAIN) throw new Error(`this reference was made with weights of gain ${String(gain)}, the synthetic models have ${GAIN}`);
}

/** Of inputs by the key that the manifest lists them with, less the size in it; mean 0. */
const INPUT_STD = { latent: 1, noise: 1, image: 1 / Math.sqrt(3), z: 1 } as const;

/**
 * A hashed input of a shape: its numbers come from the name that the manifest's `input_names` gives it, without which it is "golden." and
 * its key.
 * The key is what the input is and, unless it has the model's own size, its height: "latent", "latent16".
 */
export function hashedInput(golden: Golden, what: keyof typeof INPUT_STD, shape: readonly number[], ownSize: number): NDArray {
  const height = shape[2]!;
  const key = height === ownSize ? what : `${what}${height}`;
  const name = golden.json["input_names"] === undefined ? `golden.${key}` : golden.text(key, golden.object("input_names"));
  return { data: hashNumbers(name, shape.reduce((a, b) => a * b, 1), 0, INPUT_STD[what]), shape };
}

/**
 * `full_text_unet`: a real model's shapes; the text encoding, and for each case the noise prediction, the loss and its gradients, and what
 * every block gives.
 */
export const fullTextUNet: Form = async (golden, rows, context) => {
  const model = await syntheticModel(golden, context);
  const ids = Uint32Array.from(await golden.ints("ids"));
  await rows.guard("text", "last_hidden_state", () => checkText(golden, rows, model, ids));
  const timestep = golden.number("timestep");
  for (const { name } of golden.cases) {
    await rows.guard(name, "eps", async () => {
      const [channels, height, width] = golden.shape(`${name}.eps`) as [number, number, number];
      const [ownSize] = model.defaultLatentSize;
      const [latent, noise] = (["latent", "noise"] as const).map((what) =>
        hashedInput(golden, what, [1, channels, height, width], ownSize),
      ) as [NDArray, NDArray];
      await checkBlocks(golden, rows, model, name, { ids, latent, timestep });
      const results = await lossAndGradients(model, { ids, noised: latent, target: noise, timestep, loss: "mse" });
      const named: Readonly<Record<string, string>> = { eps: "eps", loss: "loss", d_embeds: "d_embeds", d_ctx: "d_ctx", d_latent: "d_x_t" };
      for (const [tensor, result] of Object.entries(named)) {
        if (!golden.has(`${name}.${tensor}`)) continue;
        rows.compare(
          name,
          tensor,
          results[result]!,
          await golden.floats(`${name}.${tensor}`),
          tensor.startsWith("d_") ? rows.tolerances.embeddingGradient : rows.tolerances.model,
        );
      }
    });
  }
};

async function checkText(golden: Golden, rows: Rows, model: StableDiffusion, ids: Uint32Array<ArrayBuffer>): Promise<void> {
  const wanted = golden.names().filter((n) => /^text\.hidden\.\d+\.stats$/.test(n));
  const program = await model.program(`verify full text ${ids.length}`, (g) => {
    const hidden = model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, ids.length], dtype: "u32" })));
    const outputs: Record<string, Value> = { hidden };
    for (const name of wanted) {
      const value = g.captured.get(`text_model.hidden_states.${name.split(".")[2]}`);
      if (value) outputs[name] = value;
    }
    return { outputs };
  });
  await program.run({ ids });
  const read = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
  rows.compare("text", "last_hidden_state", read["hidden"]!, await golden.floats("text.last_hidden_state"), rows.tolerances.model);
  for (const name of wanted) {
    if (read[name]) {
      rows.compare("text", name.slice("text.".length), statistics([read[name]]), await golden.floats(name), rows.tolerances.model);
    } else rows.failed("text", name, "the text encoder has no such layer");
  }
}

async function checkBlocks(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  inputs: { ids: Uint32Array<ArrayBuffer>; latent: NDArray; timestep: number },
): Promise<void> {
  const latent = channelsLast(inputs.latent);
  await checkModules(golden, rows, model, name, (g) => {
    const context = model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, inputs.ids.length], dtype: "u32" })));
    const features = g.input("features", { shape: [1, model.featureWidth], dtype: "f32" });
    model.recordUNet(g, g.input("latent", { shape: latent.shape, dtype: "f32" }), features, context, false);
    return {};
  }, { ids: inputs.ids, latent: latent.data, features: model.timestepFeatures([inputs.timestep]) });
}

/** `full_vae`: a real VAE both ways, and what every block gives. */
export const fullVae: Form = async (golden, rows, context) => {
  const model = await syntheticModel(golden, context);
  const { config, parameters } = model.parts.vae;
  for (const { name } of golden.cases) {
    await rows.guard(name, "decoded", async () => {
      const [latentChannels, h, w] = golden.shape(`${name}.mean`) as [number, number, number];
      const [height, width] = [h * config.factor, w * config.factor];
      const [ownSize] = model.defaultLatentSize;
      const image = channelsLast(hashedInput(golden, "image", [1, config.inChannels, height, width], ownSize * config.factor));
      const z = channelsLast(hashedInput(golden, "z", [1, latentChannels, h, w], ownSize));
      // One pass each, since a real VAE takes minutes on a software adapter; without fused epilogues, so that every module can be seen.
      const layers = (g: Graph): Layers => new Layers(g, parameters, false);
      const input = (g: Graph, { shape }: NDArray): Value => g.input("x", { shape, dtype: "f32" });
      const of =
        (...prefixes: string[]) =>
        (module: string): boolean =>
          prefixes.some((p) => module.startsWith(p));
      const encoded = await checkModules(
        golden,
        rows,
        model,
        name,
        (g) => vaeEncode(layers(g), config, input(g, image), parameters.maxTensorBytes),
        { x: image.data },
        of("encoder", "quant_conv"),
      );
      rows.compare(name, "mean", encoded["mean"]!, await golden.floats(`${name}.mean`), rows.tolerances.model);
      rows.compare(
        name,
        "logvar",
        encoded["logvar"]!.map((x) => Math.min(LOGVAR_LIMITS[1], Math.max(LOGVAR_LIMITS[0], x))),
        await golden.floats(`${name}.logvar`),
        rows.tolerances.model,
      );
      const { decoded } = await checkModules(
        golden,
        rows,
        model,
        name,
        (g) => ({ decoded: vaeDecode(layers(g), config, input(g, z), parameters.maxTensorBytes) }),
        { x: z.data },
        of("decoder", "post_quant_conv"),
      );
      await checkPicture(golden, rows, name, decoded!, [config.outChannels, height, width]);
    });
  }
};

/** The decoded picture [C, H, W]: whole, or where that would be too much, its statistics, every eighth pixel, corners and centre. */
async function checkPicture(
  golden: Golden,
  rows: Rows,
  name: string,
  picture: Float32Array<ArrayBuffer>,
  [channels, height, width]: readonly [number, number, number],
): Promise<void> {
  const patch = (top: number, left: number, rowsOf: number, columns: number, step = 1): number[] =>
    Array.from(
      { length: channels * rowsOf * columns },
      (_, i) =>
        picture[
          Math.floor(i / (rowsOf * columns)) * height * width +
            (top + (Math.floor(i / columns) % rowsOf) * step) * width +
            left +
            (i % columns) * step
        ]!,
    );
  const expected: Readonly<Record<string, () => ArrayLike<number>>> = {
    decoded: () => picture,
    "decoded.stats": () => statistics([picture]),
    "decoded.stride8": () => patch(0, 0, height / 8, width / 8, 8),
    "decoded.corners": () =>
      [
        [0, 0],
        [0, width - 8],
        [height - 8, 0],
        [height - 8, width - 8],
      ].flatMap(([top, left]) => patch(top!, left!, 8, 8)),
    "decoded.center": () => patch(height / 2 - 4, width / 2 - 4, 8, 8),
  };
  for (const [tensor, actual] of Object.entries(expected)) {
    if (golden.has(`${name}.${tensor}`)) {
      rows.compare(name, tensor, actual(), await golden.floats(`${name}.${tensor}`), rows.tolerances.model);
    }
  }
}

/** `NAME.act.MODULE.stats` and `.sample` of the modules that `record` captures. Returns what it returns, pictures channels-first. */
export async function checkModules(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  record: (g: Graph) => Readonly<Record<string, Value>>,
  inputs: Readonly<Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>>,
  wanted: (module: string) => boolean = () => true,
): Promise<Record<string, Float32Array<ArrayBuffer>>> {
  const prefix = `${name}.act.`;
  const modules = golden
    .names()
    .flatMap((n) =>
      n.startsWith(prefix) && n.endsWith(".stats") && wanted(n.slice(prefix.length)) ? [n.slice(prefix.length, -".stats".length)] : [],
    );
  const results = new Map<string, readonly number[]>();
  const parts = new Map<string, { keys: string[]; shapes: (readonly number[])[] }>();
  const program = await model.program(`verify full modules ${name} ${modules[0]}`, (g) => {
    const outputs: Record<string, Value> = { ...record(g) };
    for (const [key, value] of Object.entries(outputs)) results.set(key, value.type.shape);
    for (const module of modules) {
      // A picture too large for one tensor is captured as bands of rows.
      const keys = g.captured.has(module) ? [module] : [...g.captured.keys()].filter((k) => k.startsWith(`${module}.[`));
      const values = keys.map((k) => g.captured.get(k)!);
      keys.forEach((k, i) => (outputs[k] = values[i]!));
      parts.set(module, { keys, shapes: values.map((v) => v.type.shape) });
    }
    return { outputs };
  });
  await program.run(Object.fromEntries(Object.entries(inputs).filter(([key]) => program.hasInput(key))));
  for (const module of modules) {
    const { keys, shapes } = parts.get(module)!;
    if (keys.length === 0) {
      rows.failed(name, `act.${module}`, "the model has no such module");
      continue;
    }
    const read = await program.read(...keys);
    await compareModules(
      golden,
      rows,
      name,
      module,
      keys.map((k, i) => ({ data: read[k] as Float32Array<ArrayBuffer>, shape: shapes[i]! })),
    );
  }
  const read = results.size > 0 ? await program.read(...results.keys()) : {};
  return Object.fromEntries(
    [...results].map(([key, shape]) => [key, channelsFirst({ data: read[key] as Float32Array<ArrayBuffer>, shape }).data]),
  );
}
