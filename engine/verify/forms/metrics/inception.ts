import { fnv1a32, hashNumbers } from "../../../loading/synthetic.ts";
import { RECIPES, type Recipe, transformInput } from "../../../metrics/recipes.ts";
import { toChannelsLast } from "../../../nn/array.ts";
import { INCEPTION_DIMS, INCEPTION_SIZE, INCEPTION_VARIANTS, type InceptionVariant } from "../../../vision/inception.ts";
import { Inception, inceptionTensors } from "../../../vision/inception-model.ts";
import type { Check, Form } from "../../check.ts";
import { capturedOf, read } from "../../compute.ts";
import { withNeighbour } from "../../golden.ts";
import { referencePicture } from "../../pictures.ts";
import { compareModules } from "../modules.ts";
import { hashedInception, inceptionDistribution } from "./hashed-inception.ts";
import { pictureFile } from "./pictures.ts";

/** `inception`: features, logits and every block of both networks with hashed weights, for hashed numbers and for pictures. */
export const inception: Form = async (check) => {
  const { golden, context } = check;
  const networks = new Map<InceptionVariant, Inception>();
  try {
    await check.cases("features", async ({ name }) => {
      const [variant] = name.split(".") as [InceptionVariant];
      if (!INCEPTION_VARIANTS.includes(variant)) throw new Error(`no network is called "${variant}"`);
      let network = networks.get(variant);
      if (!network) {
        network = new Inception(await context.device(), variant, hashedInception(variant, golden.number("gain")));
        networks.set(variant, network);
      }
      await checkCase(check, name, network, await inputOf(check, name));
    });
  } finally {
    for (const network of networks.values()) await network.destroy();
  }
};

/**
 * What a case's network is given, normalised: by the case's name NETWORK.INPUT, NETWORK.INPUT.clean with clean-fid's normalisation, or
 * NETWORK.pytorch_fid.PICTURE, a picture through that recipe.
 */
async function inputOf(check: Check, name: string): Promise<Float32Array<ArrayBuffer>> {
  const [variant, input, more] = name.split(".") as [InceptionVariant, string, string?];
  const recipe = (RECIPES as Readonly<Record<string, Recipe>>)[input.replaceAll("_", "-")];
  if (recipe) {
    const { golden, context: { files } } = check;
    return withNeighbour(golden, files, "resize", async (other) =>
      recipe.prepare(await referencePicture(other, files, pictureFile(other, more ?? ""))),
    );
  }
  const unit = await unitInput(check, input);
  if (more === "clean") return unit.map((x) => Math.fround(Math.fround(255 * x) - 128) / 128);
  if (more !== undefined) throw new Error(`no normalisation is called "${more}"`);
  const twice = unit.map((x) => Math.fround(2 * x) - 1);
  return variant === "torchvision" ? transformInput(twice) : twice;
}

/** Numbers [299, 299, 3] in [0, 1] by what the manifest says of an input. */
async function unitInput({ golden, context: { files } }: Check, input: string): Promise<Float32Array<ArrayBuffer>> {
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
  return withNeighbour(golden, files, file, async (other) => Float32Array.from(await other.ints(tensor), (v) => v / 255));
}

async function checkCase(check: Check, name: string, network: Inception, image: Float32Array<ArrayBuffer>): Promise<void> {
  const { golden } = check;
  const modules = new Set(golden.namesAfter(`${name}.act.`).map((m) => m.replace(/\.(stats|sample)$/, "")));
  const program = await network.program(`verify ${name}`, (g) => {
    const { features, logits } = network.record(g, 1);
    const pools = Object.fromEntries(INCEPTION_DIMS.map((dims) => [`pool${dims}`, features[dims]] as const));
    const results = Object.entries({ ...pools, features: features[2048], logits }).filter(([tensor]) => golden.has(`${name}.${tensor}`));
    return { outputs: { ...Object.fromEntries(results), ...capturedOf(g, [...modules], (module) => `act.${module}`) } };
  });
  await program.run({ image });
  for (const [tensor, made] of Object.entries(await read(program))) {
    if (tensor.startsWith("act.")) await compareModules(check, name, tensor.slice("act.".length), [made]);
    else await check.compare(name, tensor, made);
  }
}

/** `inception_weights`: names, shapes and hashed numbers of both networks' tensors. Needs no device. */
export const inceptionWeights: Form = async ({ golden, rows }) => {
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
