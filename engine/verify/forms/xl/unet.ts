import type { Value } from "../../../../kernels/kernel.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Form } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { channelsLast } from "../../layout.ts";
import { asStored, request } from "../model/unet.ts";
import { type Rows, TOLERANCES } from "../../rows.ts";
import { joinEncoding, sizesOf } from "./encoding.ts";

const ACTIVATION = "act.";
/** Sines of phases up to thousands, which the reference takes in float32. */
const SINUSOIDS: ReadonlySet<string> = new Set(["act.time_proj", "act.add_time_proj"]);

/** `golden_unet` with added conditions: outputs for every timestep, batch and shape, what leaving a condition out does, every module. */
export const xlUNet: Form = async (golden, rows, context) => {
  const model = await context.model();
  for (const tensor of golden.names().filter((n) => n.startsWith("eps."))) {
    await rows.guard(tensor, "eps", async () => {
      const { sample, timesteps } = await request(golden, tensor);
      const { encoding, sizes } = await conditions(golden, sample.shape[0]!);
      const { data } = await model.predictNoise(sample, timesteps, encoding, sizes);
      rows.compare(tensor, "eps", data, await golden.floats(tensor), rows.tolerances.model);
    });
  }
  const influence = golden.cases.find((c) => c.name === "influence");
  if (influence) await rows.guard(influence.name, "eps", () => checkInfluence(golden, rows, model, golden.object("wrong_if", influence)));
  const modules = golden.names().filter((n) => n.startsWith(ACTIVATION));
  if (modules.length > 0) await rows.guard("modules", "act", () => checkModules(golden, rows, model, modules));
};

/** Encoding and sizes of the first `batch` rows. */
async function conditions(golden: Golden, batch: number): Promise<{ encoding: NDArray; sizes: ReturnType<typeof sizesOf> }> {
  const [context, pooled, ids] = [await golden.array("ctx"), await golden.array("text_embeds"), await golden.array("time_ids")].map((all) =>
    head(all, batch),
  ) as [NDArray, NDArray, NDArray];
  return { encoding: joinEncoding({ context, pooled }), sizes: sizesOf(golden.source, ids) };
}

function head({ data, shape }: NDArray, rows: number): NDArray {
  return { data: data.slice(0, (data.length / shape[0]!) * rows), shape: [rows, ...shape.slice(1)] };
}

/** That the conditions count, and as much as the reference says: a model deaf to them would be as near to it without. */
async function checkInfluence(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  stated: Readonly<Record<string, unknown>>,
): Promise<void> {
  const sample = await golden.array("x1");
  const timestep = statedTimestep(golden);
  const expected = await golden.floats(`eps.b1.t${timestep}`);
  const { encoding, sizes } = await conditions(golden, 1);
  const width = encoding.shape[2]!;
  const deaf = { ...encoding, data: encoding.data.slice().fill(0, encoding.data.length - width) };
  const turn = ([a, b]: readonly [number, number]): [number, number] => [b, a];
  const turned = sizes.map(({ original, crop, target }) => ({ original: turn(original), crop: turn(crop), target: turn(target) }));
  const tried: Readonly<Record<string, () => Promise<NDArray>>> = {
    "text_embeds left out": () => model.predictNoise(sample, timestep, deaf, sizes),
    "heights and widths swapped": () => model.predictNoise(sample, timestep, encoding, turned),
  };
  for (const [what, distance] of Object.entries(stated)) {
    const made = tried[what];
    if (!made) {
      rows.failed("influence", what, "no check for this mistake");
      continue;
    }
    const { data } = await made();
    const norm = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0));
    const apart = Math.sqrt(data.reduce((sum, x, i) => sum + (x - expected[i]!) ** 2, 0)) / norm;
    // Three digits are stated.
    rows.compare("influence", what, [apart], [Number(distance)], Math.max(0.01, rows.tolerances.model));
  }
}

/** The output of every module, from a recording without fused epilogues. */
async function checkModules(golden: Golden, rows: Rows, model: StableDiffusion, modules: readonly string[]): Promise<void> {
  const sample = await golden.array("x1");
  const timestep = statedTimestep(golden);
  const batch = sample.shape[0]!;
  const { encoding, sizes } = await conditions(golden, batch);
  const input = channelsLast(sample);
  const shapes = new Map<string, readonly number[]>();
  const program = await model.program(`verify modules ${sample.shape.join("x")} ${encoding.shape[1]}`, (g) => {
    const leaf = (name: string, shape: readonly number[]): Value => g.input(name, { shape, dtype: "f32" });
    const features = leaf("features", [batch, model.featureWidth]);
    model.recordUNet(g, leaf("sample", input.shape), features, leaf("context", encoding.shape), false);
    const outputs: Record<string, Value> = {};
    for (const name of modules) {
      const value = g.captured.get(name.slice(ACTIVATION.length));
      if (!value) continue;
      outputs[name] = value;
      shapes.set(name, value.type.shape);
    }
    return { outputs };
  });
  const features = model.timestepFeatures(new Array<number>(batch).fill(timestep), sizes);
  await program.run({ sample: input.data, features, context: encoding.data });
  const computed = await program.read();
  for (const name of modules) {
    const shape = shapes.get(name);
    if (!shape) {
      rows.failed("modules", name, "the model has no such module");
      continue;
    }
    const actual = asStored(computed[name] as Float32Array<ArrayBuffer>, shape, golden.shape(name));
    const expected = await golden.floats(name);
    if (SINUSOIDS.has(name)) rows.compare("modules", name, actual, expected, TOLERANCES.timestepEmbedding, "absolute");
    else rows.compare("modules", name, actual, expected, rows.tolerances.model);
  }
}

/** The timestep that modules were seen at, and what a condition does. */
function statedTimestep(golden: Golden): number {
  const timestep = Number(/t\s*=\s*([\d.]+)/.exec(golden.text("what"))?.[1] ?? Number.NaN);
  if (!Number.isFinite(timestep)) throw new Error(`"what" does not say at which timestep modules were seen: ${golden.text("what")}`);
  return timestep;
}
