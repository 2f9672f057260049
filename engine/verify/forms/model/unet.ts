import type { NDArray } from "../../../nn/array.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Check, Form } from "../../check.ts";
import { capturedOf, compute } from "../../compute.ts";
import type { Golden, Json } from "../../golden.ts";
import { channelsFirst, channelsLast, parts } from "../../layout.ts";
import { TOLERANCES, relativeL2 } from "../../rows.ts";
import { joinEncoding, sizesIn } from "./encoding.ts";

const ACTIVATION = "act.";
/** Sines of phases up to thousands, which SDXL's references take in float32. */
const SINUSOIDS: ReadonlySet<string> = new Set(["act.time_proj", "act.add_time_proj"]);

/**
 * `golden_unet`: outputs at every listed timestep, batch and shape, and the output of every listed module; of SDXL also what leaving a
 * condition out does.
 */
export const unet: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  for (const key of golden.names().filter((n) => n.startsWith("eps."))) {
    await rows.guard(key, "eps", async () => {
      const { sample, timesteps } = await request(golden, key);
      const { encoding, sizes } = await conditions(golden, sample.shape[0]!);
      await check.compare(key, "eps", await model.predictNoise(sample, timesteps, encoding, sizes), undefined, { key });
    });
  }
  const influence = golden.has("text_embeds") && golden.cases.find((c) => c.name === "influence");
  if (influence) await rows.guard(influence.name, "eps", () => checkInfluence(check, model, golden.object("wrong_if", influence)));
  const modules = golden.namesAfter(ACTIVATION);
  if (modules.length > 0) await rows.guard("modules", "act", () => checkModules(check, model, modules));
};

/** Encoding and sizes of the first `batch` rows. */
async function conditions(golden: Golden, batch: number) {
  const head = async (tensor: string): Promise<NDArray> => parts(await golden.array(tensor), 0, batch);
  const ctx = await head("ctx");
  const encoding = joinEncoding(golden.has("text_embeds") ? { ctx, text_embeds: await head("text_embeds") } : { ctx });
  return { encoding, sizes: (await sizesIn(golden))?.slice(0, batch) };
}

/**
 * Which latent and timesteps an output belongs to, by its name: `eps.b2.t500` is `x2` at 500, `eps.rect.t500` is `x_rect`, `t333_25` at
 * batch 1 is 333.25, and at batch 2 `t10_700` is one timestep a row. What the JSON says of the tensor decides between the last two.
 */
async function request(golden: Golden, tensor: string): Promise<{ sample: NDArray; timesteps: number[] }> {
  const match = /^eps\.(.+)\.t(\d+)(?:_(\d+))?$/.exec(tensor);
  if (!match) throw new Error(`the name "${tensor}" does not say which latent and timestep it belongs to`);
  const [, which, first, second] = match as unknown as [string, string, string, string | undefined];
  const latent = [`x${/^b(\d+)$/.exec(which)?.[1] ?? `_${which}`}`, which].find((n) => golden.has(n));
  if (latent === undefined) throw new Error(`there is no latent for "${tensor}"`);
  const sample = await golden.array(latent);
  const batch = sample.shape[0]!;
  const perRow = second !== undefined && (batch === 1 ? false : !/fractional/i.test(golden.describe(tensor)));
  const one = Number(second === undefined ? first : `${first}.${second}`);
  const timesteps = perRow ? [Number(first), Number(second)] : Array.from({ length: batch }, () => one);
  return { sample, timesteps };
}

/** That SDXL's conditions count, and as much as the reference says: a model deaf to them would be as near to it without. */
async function checkInfluence({ golden, rows }: Check, model: StableDiffusion, stated: Json): Promise<void> {
  const sample = await golden.array("x1");
  const timestep = statedTimestep(golden);
  const expected = await golden.floats(`eps.b1.t${timestep}`);
  const { encoding, sizes = [] } = await conditions(golden, 1);
  const width = encoding.shape[2]!;
  const deaf = { ...encoding, data: encoding.data.slice().fill(0, encoding.data.length - width) };
  const turn = ([a, b]: readonly [number, number]): [number, number] => [b, a];
  const turned = sizes.map(({ original, crop, target }) => ({ original: turn(original), crop: turn(crop), target: turn(target) }));
  const tried: Readonly<Record<string, () => Promise<NDArray>>> = {
    "text_embeds left out": () => model.predictNoise(sample, timestep, deaf, sizes),
    "heights and widths swapped": () => model.predictNoise(sample, timestep, encoding, turned),
  };
  for (const [what, distance] of Object.entries(stated)) {
    const made = await tried[what]?.();
    // Three digits are stated.
    const tolerance = Math.max(0.01, rows.tolerances.model);
    if (made) rows.compare("influence", what, [relativeL2(made.data, expected)], [Number(distance)], tolerance);
    else rows.failed("influence", what, "no check for this mistake");
  }
}

/** The output of every module at the latent `x1`, from a recording without fused epilogues. */
async function checkModules(check: Check, model: StableDiffusion, modules: readonly string[]): Promise<void> {
  const { golden } = check;
  const sample = await golden.array("x1");
  const [batch] = sample.shape as [number];
  const { encoding, sizes } = await conditions(golden, batch);
  const timesteps = new Array<number>(batch).fill(statedTimestep(golden));
  const inputs = {
    sample: channelsLast(sample),
    features: { data: model.timestepFeatures(timesteps, sizes), shape: [batch, model.featureWidth] },
    context: encoding,
  };
  const computed = await compute(model, "modules", inputs, (g, v) => {
    model.recordUNet(g, v["sample"]!, v["features"]!, v["context"]!, false);
    return capturedOf(g, modules, (module) => ACTIVATION + module);
  });
  await compareCaptured(check, modules, computed, model.isXl ? SINUSOIDS : undefined);
}

/**
 * Compares captured values by their modules' names; a module that the model does not have is a failed row.
 * @param sinusoids those compared as timestep embeddings
 */
export async function compareCaptured(
  check: Check,
  modules: readonly string[],
  computed: Readonly<Record<string, NDArray>>,
  sinusoids?: ReadonlySet<string>,
): Promise<void> {
  for (const key of modules.map((module) => ACTIVATION + module)) {
    const made = computed[key];
    if (!made) {
      check.rows.failed("modules", key, "the model has no such module");
      continue;
    }
    const actual = asStored(made, check.golden.shape(key));
    if (sinusoids?.has(key)) await check.compare("modules", key, actual, TOLERANCES.timestepEmbedding, { key, measure: "absolute" });
    else await check.compare("modules", key, actual, undefined, { key });
  }
}

/** A captured value in the order of the reference: channels first if that has four dimensions. */
export function asStored(made: NDArray, stored: readonly number[]): Float32Array<ArrayBuffer> {
  return stored.length === 4 && made.shape.length === 4 ? channelsFirst(made).data : made.data;
}

/** The timestep that modules were seen at, and what a condition does. */
function statedTimestep(golden: Golden): number {
  const timestep = Number(/t\s*=\s*([\d.]+)/.exec(golden.text("what"))?.[1] ?? Number.NaN);
  if (!Number.isFinite(timestep)) throw new Error(`"what" does not say at which timestep modules were seen: ${golden.text("what")}`);
  return timestep;
}
