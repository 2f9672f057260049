import type { Value } from "../../../../kernels/kernel.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { HostArray } from "../../../runtime/program.ts";
import type { Form } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { channelsFirst, channelsLast } from "../../layout.ts";
import type { Rows } from "../../rows.ts";

const ACTIVATION = "act.";

/** `golden_unet`: outputs at every listed timestep, batch and shape, and the output of every listed module. */
export const unet: Form = async (golden, rows, context) => {
  const model = await context.model();
  const text = await golden.array("ctx");
  for (const tensor of golden.names().filter((n) => n.startsWith("eps."))) {
    await rows.guard(tensor, "eps", async () => {
      const { sample, timesteps } = await request(golden, tensor);
      const [batch] = sample.shape as [number];
      const rowSize = text.data.length / text.shape[0]!;
      const ctx = { data: text.data.slice(0, batch * rowSize), shape: [batch, ...text.shape.slice(1)] };
      const { data } = await model.predictNoise(sample, timesteps, ctx);
      rows.compare(tensor, "eps", data, await golden.floats(tensor), rows.tolerances.model);
    });
  }
  const modules = golden.names().filter((n) => n.startsWith(ACTIVATION));
  if (modules.length > 0) await rows.guard("modules", "act", () => checkModules(golden, rows, model, modules, text));
};

/**
 * Which latent and timesteps an output belongs to, by its name: `eps.b2.t500` is `x2` at 500, `eps.rect.t500` is `x_rect`, `t333_25` at
 * batch 1 is 333.25, and at batch 2 `t10_700` is one timestep a row. What the JSON says of the tensor decides between the last two.
 */
export async function request(golden: Golden, tensor: string): Promise<{ sample: NDArray; timesteps: number[] }> {
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

/**
 * The output of every module, from a recording without fused epilogues, at the timestep and latent that the JSON's `what` and tensors
 * imply.
 */
async function checkModules(golden: Golden, rows: Rows, model: StableDiffusion, modules: readonly string[], text: NDArray): Promise<void> {
  const sample = await golden.array("x1");
  const timestep = Number(/t\s*=\s*([\d.]+)/.exec(golden.text("what"))?.[1] ?? Number.NaN);
  if (!Number.isFinite(timestep)) {
    throw new Error(`"what" does not say at which timestep the intermediates were taken: ${golden.text("what")}`);
  }
  const input = channelsLast(sample);
  const contextShape = [sample.shape[0]!, ...text.shape.slice(1)];
  const shapes = new Map<string, readonly number[]>();
  const program = await model.program(`verify modules ${sample.shape.join("x")} ${text.shape[1]}`, (g) => {
    const features = g.input("features", { shape: [sample.shape[0]!, model.featureWidth], dtype: "f32" });
    model.recordUNet(
      g,
      g.input("sample", { shape: input.shape, dtype: "f32" }),
      features,
      g.input("context", { shape: contextShape, dtype: "f32" }),
      false,
    );
    const outputs: Record<string, Value> = {};
    for (const name of modules) {
      const value = g.captured.get(name.slice(ACTIVATION.length));
      if (value) {
        outputs[name] = value;
        shapes.set(name, value.type.shape);
      }
    }
    return { outputs };
  });
  const rowSize = text.data.length / text.shape[0]!;
  await program.run({
    sample: input.data,
    features: model.timestepFeatures(Array.from({ length: sample.shape[0]! }, () => timestep)),
    context: text.data.slice(0, rowSize * sample.shape[0]!),
  });
  await compareCaptured(golden, rows, modules, shapes, await program.read());
}

/** Compares captured values by their modules' names; a module that the model does not have is a failed row. */
export async function compareCaptured(
  golden: Golden,
  rows: Rows,
  modules: readonly string[],
  shapes: ReadonlyMap<string, readonly number[]>,
  computed: Readonly<Record<string, HostArray>>,
): Promise<void> {
  for (const name of modules) {
    const shape = shapes.get(name);
    if (!shape) {
      rows.failed("modules", name, "the model has no such module");
      continue;
    }
    const actual = asStored(computed[name] as Float32Array<ArrayBuffer>, shape, golden.shape(name));
    rows.compare("modules", name, actual, await golden.floats(name), rows.tolerances.model);
  }
}

/** A captured value in the order of the reference: channels first if that has four dimensions. */
export function asStored(data: Float32Array<ArrayBuffer>, shape: readonly number[], stored: readonly number[]): Float32Array<ArrayBuffer> {
  return stored.length === 4 && shape.length === 4 ? channelsFirst({ data, shape }).data : data;
}
