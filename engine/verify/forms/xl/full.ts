import { FormatError } from "../../../formats/errors.ts";
import { hashNumbers } from "../../../loading/synthetic.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Value } from "../../../../kernels/kernel.ts";
import type { Form } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { channelsLast } from "../../layout.ts";
import { checkModules, requireSynthetic } from "../model/full.ts";
import { statistics } from "../modules.ts";
import type { Rows } from "../../rows.ts";
import { sizesOf } from "./encoding.ts";
import { xlLossAndGradients } from "./loss-grad.ts";
import { checkIds, runEncoder } from "./text-encoders.ts";

/**
 * `full_sdxl`: SDXL's real shapes; both text encoders, and for each case the prediction, the loss and its gradients, and what every block
 * gives. The model is opened for each part by itself, so that one set of weights is there at a time.
 */
export const fullXl: Form = async (golden, rows, context) => {
  requireSynthetic(golden, context, "sdxl");
  const ids = Uint32Array.from(await golden.ints("ids_1"));
  const timestep = golden.number("timestep");
  const [sizes] = sizesOf(golden.source, await golden.array("time_ids")) as [SizeConditions];
  let encoding: NDArray | undefined;
  await rows.guard("text", "states", () =>
    context.withModel(async (model) => {
      await checkIds(golden, rows, model, "text", [golden.text("prompt")]);
      for (const number of [1, 2] as const) await checkText(golden, rows, model, number);
      encoding = await model.encodeText(ids);
    }),
  );
  const cases = golden.cases.filter(({ name }) => golden.has(`${name}.eps`));
  await rows.guard("blocks", "act", () =>
    context.withModel(async (model) => {
      for (const { name } of cases) {
        await checkBlocks(golden, rows, model, name, { encoding: encoding!, timestep, sizes });
      }
    }),
  );
  await rows.guard("gradients", "eps", () =>
    context.withModel(async (model) => {
      for (const { name } of cases) await checkLoss(golden, rows, model, name, { ids, timestep, sizes });
    }),
  );
};

async function checkText(golden: Golden, rows: Rows, model: StableDiffusion, number: 1 | 2): Promise<void> {
  const prefix = `text${number}.`;
  const { model: tolerance } = rows.tolerances;
  const computed = await runEncoder(golden, model, number);
  for (const tensor of golden.names().filter((n) => n.startsWith(prefix))) {
    const wanted = tensor.slice(prefix.length);
    const actual = computed[wanted.replace(/\.stats$/, "")];
    if (!actual) rows.failed("text", tensor, "the model has no such layer");
    else rows.compare("text", tensor, wanted.endsWith(".stats") ? statistics([actual]) : actual, await golden.floats(tensor), tolerance);
  }
}

async function checkBlocks(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  { encoding, timestep, sizes }: { encoding: NDArray; timestep: number; sizes: SizeConditions },
): Promise<void> {
  const latent = channelsLast(hashed(golden, "latent", golden.shape(`${name}.eps`)));
  await checkModules(
    golden,
    rows,
    model,
    name,
    (g) => {
      const leaf = (of: string, shape: readonly number[]): Value => g.input(of, { shape, dtype: "f32" });
      model.recordUNet(g, leaf("latent", latent.shape), leaf("features", [1, model.featureWidth]), leaf("context", encoding.shape), false);
      return {};
    },
    { latent: latent.data, context: encoding.data, features: model.timestepFeatures([timestep], sizes) },
  );
}

async function checkLoss(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  { ids, timestep, sizes }: { ids: Uint32Array<ArrayBuffer>; timestep: number; sizes: SizeConditions },
): Promise<void> {
  const shape = golden.shape(`${name}.eps`);
  const [noised, target] = [hashed(golden, "latent", shape), hashed(golden, "noise", shape)];
  const results = await xlLossAndGradients(model, { ids, noised, target, timestep, sizes, loss: "mse" });
  const named: Readonly<Record<string, string>> = { d_latent: "d_x_t" };
  const prefix = `${name}.`;
  for (const tensor of golden.names().filter((n) => n.startsWith(prefix) && !n.startsWith(`${prefix}act.`))) {
    const [what, form] = tensor.slice(prefix.length).split(".") as [string, string?];
    const result = results[named[what] ?? what];
    if (!result) continue; // reported as a tensor without a check
    const expected = await golden.floats(tensor);
    const actual = shownAs(form, result, ids.length);
    if (!actual) continue;
    const { embeddingGradient, model: forward } = rows.tolerances;
    rows.compare(name, tensor.slice(prefix.length), actual, expected, what.startsWith("d_") ? embeddingGradient : forward);
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

/** An input [1, C, h, w], hashed under the name in quotes that the manifest's `inputs` gives for what it is and its height; std 1. */
function hashed(golden: Golden, what: "latent" | "noise", [channels, height, width]: readonly number[]): NDArray {
  const key = `${what}${height}`;
  const stated = golden.text(key, golden.object("inputs"));
  const name = /'([^']+)'/.exec(stated)?.[1];
  if (name === undefined) throw new FormatError(golden.path, `"inputs" gives no hash name in quotes for "${key}": ${stated}`);
  return { data: hashNumbers(name, channels! * height! * width!, 0, 1), shape: [1, channels!, height!, width!] };
}
