import { FormatError } from "../../../formats/errors.ts";
import { isObject } from "../../../formats/file-system.ts";
import { isSynthetic } from "../../../formats/model-source.ts";
import { Layers } from "../../../nn/layers.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { GAIN, type SyntheticName, hashNumbers } from "../../../loading/synthetic.ts";
import { vaeDecode, vaeEncode } from "../../../diffusion/vae.ts";
import type { Graph } from "../../../runtime/graph.ts";
import type { Check, Form } from "../../check.ts";
import { type Inputs, type Values, capturedOf, read, run } from "../../compute.ts";
import type { Golden } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import { compareModules, statistics } from "../modules.ts";
import { sizesIn } from "./encoding.ts";
import { lossAndGradients } from "./loss-grad.ts";
import { checkIds, checkOneOfTwo, compareEncoder, encoderOutputs } from "./text-encoders.ts";
import { clampedLogvar } from "./vae.ts";

/** @throws Error unless the model's weights are made up as the reference's are; these references have no other */
function requireSynthetic({ golden, context }: Check, which: SyntheticName): void {
  if (!isSynthetic(context.modelFolder)) throw new Error(`this reference was made with hashed weights: give --model synthetic:${which}`);
  const { gain = GAIN } = golden.json;
  if (gain !== GAIN) throw new Error(`this reference was made with weights of gain ${String(gain)}, the synthetic models have ${GAIN}`);
}

/** Of inputs by the key that the manifest lists them with, less the size in it; mean 0. */
const INPUT_STD = { latent: 1, noise: 1, image: 1 / Math.sqrt(3), z: 1 } as const;

/**
 * A hashed input of a shape: its numbers come from the name that the manifest gives it in `input_names` or, in quotes, in `inputs`, without
 * which it is "golden." and its key. The key is what the input is and its height, which `input_names` leave out of the model's own size:
 * "latent", "latent16".
 */
export function hashedInput(golden: Golden, what: keyof typeof INPUT_STD, shape: readonly number[], ownSize: number): NDArray {
  const height = shape[2]!;
  const key = height === ownSize ? what : `${what}${height}`;
  const { input_names: names, inputs } = golden.json;
  const stated = isObject(inputs) ? inputs[`${what}${height}`] : undefined;
  const quoted = typeof stated === "string" ? /'([^']+)'/.exec(stated)?.[1] : `golden.${key}`;
  const name = names === undefined ? quoted : golden.text(key, golden.object("input_names"));
  if (name === undefined) throw new FormatError(golden.path, `"inputs" gives no hash name in quotes for "${key}": ${String(stated)}`);
  return { data: hashNumbers(name, shape.reduce((a, b) => a * b, 1), 0, INPUT_STD[what]), shape };
}

/** What all cases of a reference share. */
interface Given {
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly timestep: number;
  readonly sizes: readonly SizeConditions[] | undefined;
}

/**
 * A real model's shapes: the text encoding, and for each case the noise prediction, the loss and its gradients, and what every block gives.
 * SDXL is opened for each part by itself, so that one set of its weights is there at a time.
 */
function full(which: SyntheticName, checkText: (check: Check, model: StableDiffusion) => Promise<void>): Form {
  return async (check) => {
    const { golden, rows, context } = check;
    requireSynthetic(check, which);
    const opened = (work: (model: StableDiffusion) => Promise<void>): Promise<void> =>
      which === "sdxl" ? context.withModel(work) : context.model().then(work);
    const ids = await golden.ids(which === "sdxl" ? "ids_1" : "ids");
    const given: Given = { ids, timestep: golden.number("timestep"), sizes: await sizesIn(golden) };
    let encoding: NDArray | undefined;
    await rows.guard("text", "states", () =>
      opened(async (model) => {
        await checkText(check, model);
        encoding = await model.encodeText(ids);
      }),
    );
    const cases = golden.cases.filter(({ name }) => golden.has(`${name}.eps`));
    await rows.guard("blocks", "act", () =>
      opened(async (model) => {
        for (const { name } of cases) await checkBlocks(check, model, name, encoding!, given);
      }),
    );
    await rows.guard("gradients", "eps", () =>
      opened(async (model) => {
        for (const { name } of cases) await checkLoss(check, model, name, given);
      }),
    );
  };
}

/** `full_text_unet`: Stable Diffusion 1.4. */
export const fullTextUNet = full("sd14", async (check, model) => {
  const keys = check.golden.namesAfter("text.").map((tensor) => [tensor, `text.${tensor}`] as const);
  await compareEncoder(check, "text", Object.fromEntries(keys), await encoderOutputs(check, model, "ids"));
});

/** `full_sdxl`: SDXL, both text encoders. */
export const fullXl = full("sdxl", async (check, model) => {
  await checkIds(check, model, "text", [check.golden.text("prompt")]);
  for (const number of [1, 2]) await checkOneOfTwo(check, model, "text", number);
});

/** The inputs "latent" and "noise" of a case, [1, C, h, w]. */
function latentsOf({ golden }: Check, model: StableDiffusion, name: string, what: "latent" | "noise"): NDArray {
  const shape = golden.shape(`${name}.eps`).slice(-3);
  return hashedInput(golden, what, [1, ...shape], model.defaultLatentSize[0]);
}

async function checkBlocks(check: Check, model: StableDiffusion, name: string, encoding: NDArray, given: Given): Promise<void> {
  const inputs = {
    latent: channelsLast(latentsOf(check, model, name, "latent")),
    features: { data: model.timestepFeatures([given.timestep], given.sizes), shape: [1, model.featureWidth] },
    context: encoding,
  };
  await checkModules(check, model, name, "", inputs, (g, v) => {
    model.recordUNet(g, v["latent"]!, v["features"]!, v["context"]!, false);
    return {};
  });
}

async function checkLoss(check: Check, model: StableDiffusion, name: string, given: Given): Promise<void> {
  const { golden, tolerances } = check;
  const [noised, target] = [latentsOf(check, model, name, "latent"), latentsOf(check, model, name, "noise")];
  const { d_x_t: d_latent, ...others } = await lossAndGradients(model, { ...given, noised, target, loss: "mse" });
  const results: Readonly<Record<string, Float32Array | undefined>> = { ...others, d_latent };
  for (const tensor of golden.namesAfter(`${name}.`).filter((n) => !n.startsWith("act."))) {
    const [what, form] = tensor.split(".") as [string, string?];
    const actual = results[what] && shownAs(form, results[what], given.ids.length);
    if (!actual) continue; // reported as a tensor without a check
    await check.compare(name, tensor, actual, what.startsWith("d_") ? tolerances.embeddingGradient : tolerances.model);
  }
}

/** A matrix of `count` rows as it is kept: whole, every n-th column (`strideN`), or the length of each row (`row_norms`). */
function shownAs(form: string | undefined, data: Float32Array, count: number): Float32Array | undefined {
  if (form === undefined) return data;
  const width = data.length / count;
  const stride = Number(/^stride(\d+)$/.exec(form)?.[1] ?? 0);
  if (stride > 0) return data.filter((_, i) => (i % width) % stride === 0);
  if (form !== "row_norms") return undefined;
  return Float32Array.from({ length: count }, (_, r) =>
    Math.sqrt(data.subarray(r * width, (r + 1) * width).reduce((sum, x) => sum + x * x, 0)),
  );
}

/** `full_vae`: a real VAE both ways, and what every block gives. */
export const fullVae: Form = async (check) => {
  const { golden, context } = check;
  requireSynthetic(check, "sd14");
  const model = await context.model();
  const { config, parameters } = model.parts.vae;
  await check.cases("decoded", async ({ name }) => {
    const [latentChannels, h, w] = golden.shape(`${name}.mean`) as [number, number, number];
    const [height, width] = [h * config.factor, w * config.factor];
    const [ownSize] = model.defaultLatentSize;
    const image = hashedInput(golden, "image", [1, config.inChannels, height, width], ownSize * config.factor);
    const z = hashedInput(golden, "z", [1, latentChannels, h, w], ownSize);
    // One pass each, since a real VAE takes minutes on a software adapter; without fused epilogues, so that every module can be seen.
    const layers = (g: Graph): Layers => new Layers(g, parameters, false);
    const encoded = await checkModules(check, model, name, "encoder quant_conv", { image: channelsLast(image) }, (g, v) => ({
      ...vaeEncode(layers(g), config, v["image"]!, parameters.maxTensorBytes),
    }));
    await check.compare(name, "mean", encoded["mean"]!);
    await check.compare(name, "logvar", clampedLogvar(encoded["logvar"]!));
    const { decoded } = await checkModules(check, model, name, "decoder post_quant_conv", { z: channelsLast(z) }, (g, v) => ({
      decoded: vaeDecode(layers(g), config, v["z"]!, parameters.maxTensorBytes),
    }));
    await checkPicture(check, name, decoded!, [config.outChannels, height, width]);
  });
};

/** The decoded picture [C, H, W]: whole, or where that would be too much, its statistics, every eighth pixel, corners and centre. */
async function checkPicture(
  check: Check,
  name: string,
  picture: Float32Array<ArrayBuffer>,
  [channels, height, width]: readonly [number, number, number],
): Promise<void> {
  const patch = (top: number, left: number, rowsOf: number, columns: number, step = 1): number[] =>
    Array.from({ length: channels * rowsOf * columns }, (_, i) => {
      const [channel, row] = [Math.floor(i / (rowsOf * columns)), Math.floor(i / columns) % rowsOf];
      return picture[channel * height * width + (top + row * step) * width + left + (i % columns) * step]!;
    });
  const corners = [[0, 0], [0, width - 8], [height - 8, 0], [height - 8, width - 8]] as const;
  const shown = {
    decoded: picture,
    "decoded.stats": statistics([picture]),
    "decoded.stride8": patch(0, 0, height / 8, width / 8, 8),
    "decoded.corners": corners.flatMap(([top, left]) => patch(top, left, 8, 8)),
    "decoded.center": patch(height / 2 - 4, width / 2 - 4, 8, 8),
  };
  for (const [tensor, actual] of Object.entries(shown)) await check.compare(name, tensor, actual, undefined, { optional: true });
}

/**
 * `NAME.act.MODULE.stats` and `.sample` of the modules that `record` captures. Returns what it returns, pictures channels-first.
 * @param parts what the wanted modules' names begin with, spaces between them; all modules if ""
 */
async function checkModules(
  check: Check,
  model: StableDiffusion,
  name: string,
  parts: string,
  inputs: Inputs,
  record: (g: Graph, v: Values) => Values,
): Promise<Record<string, Float32Array<ArrayBuffer>>> {
  const wanted = (module: string): boolean => module.endsWith(".stats") && parts.split(" ").some((p) => module.startsWith(p));
  const modules = check.golden.namesAfter(`${name}.act.`).filter(wanted).map((n) => n.slice(0, -".stats".length));
  const program = await run(model, `modules ${name} ${modules[0]}`, inputs, (g, v) => {
    const results = record(g, v);
    const keys = modules.flatMap((module) => capturedAs(module, [...g.captured.keys()]));
    return { ...results, ...capturedOf(g, keys, (key) => `act.${key}`) };
  });
  const outputs = [...program.outputs.keys()];
  for (const module of modules) {
    const keys = capturedAs(`act.${module}`, outputs);
    if (keys.length === 0) check.rows.failed(name, `act.${module}`, "the model has no such module");
    else await compareModules(check, name, module, Object.values(await read(program, ...keys)));
  }
  const results = outputs.filter((key) => !key.startsWith("act."));
  const made = results.length > 0 ? await read(program, ...results) : {};
  return Object.fromEntries(Object.entries(made).map(([key, array]) => [key, channelsFirst(array).data]));
}

/** Of the keys those of a module: its own, or those of the bands of rows that a picture too large for one tensor is captured as. */
function capturedAs(module: string, keys: readonly string[]): string[] {
  return keys.includes(module) ? [module] : keys.filter((key) => key.startsWith(`${module}.[`));
}
