import type { Shape } from "../../../../kernels/kernel.ts";
import { hashNumbers } from "../../../loading/synthetic.ts";
import type { WeightSource } from "../../../nn/parameters.ts";
import type { InceptionVariant } from "../../../vision/inception.ts";
import { inceptionTensors } from "../../../vision/inception-model.ts";

/** Mean and standard deviation of a tensor of the references' Inception: the first rule that fits its name. */
export function inceptionDistribution(name: string, shape: Shape, gain: number): { readonly mean: number; readonly std: number } {
  if (name.endsWith("running_mean")) return { mean: 0, std: 0.1 };
  if (name.endsWith("running_var") || name.endsWith("bn.weight")) return { mean: 1, std: 0.1 };
  if (name.endsWith(".bias")) return { mean: 0, std: 0.1 };
  return { mean: 0, std: gain / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)) };
}

/** Inception's weights made from their names by hashing, as the references' are. */
export function hashedInception(variant: InceptionVariant, gain: number): WeightSource {
  const tensors = inceptionTensors(variant);
  return {
    name: `hashed Inception (${variant})`,
    names: () => tensors.keys(),
    shape: (tensor) => tensors.get(tensor),
    readFloat32(tensor) {
      const shape = tensors.get(tensor)!;
      const { mean, std } = inceptionDistribution(tensor, shape, gain);
      return Promise.resolve(hashNumbers(tensor, shape.reduce((a, b) => a * b, 1), mean, std));
    },
  };
}
