import type { Value } from "../../../../kernels/kernel.ts";
import type { RgbImage } from "../../../formats/picture/image.ts";
import { fnv1a32, hashNumbers } from "../../../loading/synthetic.ts";
import { RECIPES, type Recipe, transformInput } from "../../../metrics/recipes.ts";
import { toChannelsLast } from "../../../nn/array.ts";
import { INCEPTION_DIMS, INCEPTION_SIZE, INCEPTION_VARIANTS, type InceptionVariant } from "../../../vision/inception.ts";
import { Inception, inceptionTensors } from "../../../vision/inception-model.ts";
import type { Form, VerifyContext } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import type { Rows } from "../../rows.ts";
import { compareModules } from "../modules.ts";
import { hashedInception, inceptionDistribution } from "./hashed-inception.ts";
import { pictureFile, referencePicture, withNeighbour } from "./pictures.ts";

/** `inception`: features, logits and every block of both networks with hashed weights, for hashed numbers and for pictures. */
export const inception: Form = async (golden, rows, context) => {
  const networks = new Map<InceptionVariant, Inception>();
  try {
    for (const { name } of golden.cases) {
      await rows.guard(name, "features", async () => {
        const [variant] = name.split(".") as [InceptionVariant];
        if (!INCEPTION_VARIANTS.includes(variant)) throw new Error(`no network is called "${variant}"`);
        let network = networks.get(variant);
        if (!network) {
          network = new Inception(await context.device(), variant, hashedInception(variant, golden.number("gain")));
          networks.set(variant, network);
        }
        await checkCase(golden, rows, name, network, await inputOf(golden, context, name));
      });
    }
  } finally {
    for (const network of networks.values()) await network.destroy();
  }
};

/**
 * What a case's network is given, normalised: by the case's name NETWORK.INPUT, NETWORK.INPUT.clean with clean-fid's normalisation, or
 * NETWORK.pytorch_fid.PICTURE, a picture through that recipe.
 */
async function inputOf(golden: Golden, context: VerifyContext, name: string): Promise<Float32Array<ArrayBuffer>> {
  const [variant, input, more] = name.split(".") as [InceptionVariant, string, string?];
  const recipe = (RECIPES as Readonly<Record<string, Recipe>>)[input.replaceAll("_", "-")];
  if (recipe) {
    const image = await withNeighbour(golden, context, "resize", async (other): Promise<RgbImage> =>
      referencePicture(other, context, pictureFile(other, more ?? "")),
    );
    return recipe.prepare(image);
  }
  const unit = await unitInput(golden, context, input);
  if (more === "clean") return unit.map((x) => Math.fround(Math.fround(255 * x) - 128) / 128);
  if (more !== undefined) throw new Error(`no normalisation is called "${more}"`);
  const twice = unit.map((x) => Math.fround(2 * x) - 1);
  return variant === "torchvision" ? transformInput(twice) : twice;
}

/** Numbers [299, 299, 3] in [0, 1] by what the manifest says of an input. */
async function unitInput(golden: Golden, context: VerifyContext, input: string): Promise<Float32Array<ArrayBuffer>> {
  const words = golden.text(input, golden.object("inputs"));
  const [, hash] = /hash tensor '([^']+)'/.exec(words) ?? [];
  if (hash !== undefined) {
    const [, mean] = /mean ([\d.]+)/.exec(words) ?? [];
    const [, top, bottom] = /std ([\d.]+)(?:\/sqrt\(([\d.]+)\))?/.exec(words) ?? [];
    if (mean === undefined || top === undefined) throw new Error(`"inputs" does not give mean and std of ${input}: ${words}`);
    const std = Number(top) / Math.sqrt(Number(bottom ?? 1));
    const shape = [1, 3, INCEPTION_SIZE, INCEPTION_SIZE];
    return toChannelsLast({ data: hashNumbers(hash, shape.reduce((a, b) => a * b, 1), Number(mean), std), shape });
  }
  const [, file, tensor] = /^(\w+): (\S+) \/ 255/.exec(words) ?? [];
  if (file === undefined || tensor === undefined) throw new Error(`"inputs" says of ${input} what is not understood: ${words}`);
  return withNeighbour(golden, context, file, async (other) => Float32Array.from(await other.ints(tensor), (v) => v / 255));
}

async function checkCase(
  golden: Golden,
  rows: Rows,
  name: string,
  network: Inception,
  input: Float32Array<ArrayBuffer>,
): Promise<void> {
  const wanted = (tensor: string): boolean => golden.has(`${name}.${tensor}`);
  const modules = golden.names().flatMap((n) => (n.startsWith(`${name}.act.`) ? [n.slice(`${name}.act.`.length)] : []));
  const captured = new Map<string, Value>();
  const program = await network.program(`verify ${name}`, (g) => {
    const { features, logits } = network.record(g, 1);
    const outputs: Record<string, Value> = {};
    for (const dims of INCEPTION_DIMS) if (wanted(`pool${dims}`)) outputs[`pool${dims}`] = features[dims];
    if (wanted("features")) outputs["features"] = features[2048];
    if (wanted("logits")) outputs["logits"] = logits;
    for (const module of new Set(modules.map((m) => m.replace(/\.(stats|sample)$/, "")))) {
      const value = g.captured.get(module);
      if (value) captured.set(module, (outputs[`act.${module}`] = value));
    }
    return { outputs };
  });
  await program.run({ image: input });
  const read = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
  for (const [tensor, data] of Object.entries(read)) {
    if (!tensor.startsWith("act.")) rows.compare(name, tensor, data, await golden.floats(`${name}.${tensor}`), rows.tolerances.model);
  }
  for (const [module, { type }] of captured) {
    await compareModules(golden, rows, name, module, [{ data: read[`act.${module}`]!, shape: type.shape }]);
  }
}

/** `inception_weights`: names, shapes and hashed numbers of both networks' tensors. Needs no device. */
export const inceptionWeights: Form = async (golden, rows) => {
  const gain = golden.number("gain");
  for (const variant of INCEPTION_VARIANTS) {
    const key = Object.keys(golden.json).find((k) => k.startsWith(variant));
    if (key === undefined) {
      rows.failed(variant, "names", "the manifest has no such network");
      continue;
    }
    const listed = golden.object(key) as Readonly<Record<string, readonly [number[], number, number, number, number, number, number]>>;
    const own = inceptionTensors(variant);
    const odd = [...own].filter(([name, shape]) => listed[name]?.[0].join() !== shape.join()).map(([name]) => name);
    const unknown = Object.keys(listed).filter((name) => !own.has(name) && !name.startsWith("AuxLogits."));
    rows.error(key, "names and shapes", odd.length + unknown.length, 0, "mismatches", [...odd, ...unknown][0]);
    const [computed, expected]: [number[], number[]] = [[], []];
    for (const [name, [shape, seed, ...numbers]] of Object.entries(listed)) {
      const { mean, std } = inceptionDistribution(name, shape, gain);
      const count = shape.reduce((a, b) => a * b, 1);
      const at = (i: number): number => hashNumbers(name, 1, mean, std, i)[0]!;
      computed.push(fnv1a32(name), at(0), at(1), at(count - 1));
      expected.push(seed, ...numbers.slice(2).map(Math.fround));
    }
    rows.compare(key, "seeds and values", computed, expected, 0, "mismatches");
  }
};
