import { adam } from "../../../kernels/adam.ts";
import { type Recordable, compute } from "../compute.ts";

export type AdamArrays = Readonly<Record<"parameter" | "m" | "v", Float32Array<ArrayBuffer>>>;

/** One Adam step on the device, of arrays of one shape. */
export async function adamStep(
  context: Recordable,
  { parameter, m, v }: AdamArrays,
  gradient: Float32Array<ArrayBuffer>,
  shape: readonly number[],
  hyper: Float32Array<ArrayBuffer>,
): Promise<AdamArrays> {
  const inputs = {
    parameter: { data: parameter, shape }, m: { data: m, shape }, v: { data: v, shape },
    gradient: { data: gradient, shape }, hyper: { data: hyper, shape: [hyper.length] },
  };
  const made = await compute(context, "adam", inputs, (g, x) => ({
    ...adam(g, { parameter: x["parameter"]!, m: x["m"]!, v: x["v"]! }, x["gradient"]!, x["hyper"]!),
  }));
  return { parameter: made["parameter"]!.data, m: made["m"]!.data, v: made["v"]!.data };
}
