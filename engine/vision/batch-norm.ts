import type { Shape } from "../../kernels/kernel.ts";
import type { WeightSource } from "../nn/parameters.ts";

/** How a network names a convolution and the batch norm after it, and the norm's epsilon. */
export interface BatchNormNames {
  readonly convolution: string;
  readonly norm: string;
  readonly epsilon: number;
}

/** ResNetForImageClassification's, with the default of torch's BatchNorm2d. */
const RESNET: BatchNormNames = { convolution: "convolution", norm: "normalization", epsilon: 1e-5 };

/**
 * A weight source in which every convolution followed by a batch norm (in inference) reads as one convolution with a bias:
 * weight * gamma / sqrt(variance + epsilon) and beta - mean * gamma / sqrt(variance + epsilon).
 */
export function foldBatchNorm(source: WeightSource, names: BatchNormNames = RESNET): WeightSource {
  const normOf = (tensor: string): string | undefined => {
    const ending = [".weight", ".bias"].map((part) => `.${names.convolution}${part}`).find((e) => tensor.endsWith(e));
    const norm = ending && `${tensor.slice(0, -ending.length)}.${names.norm}`;
    return norm && source.shape(`${norm}.running_var`) ? norm : undefined;
  };
  const statistics = async (norm: string): Promise<{ factor: Float32Array; shift: Float32Array }> => {
    const [gamma, beta, mean, variance] = await Promise.all(
      ["weight", "bias", "running_mean", "running_var"].map((n) => source.readFloat32(`${norm}.${n}`)),
    );
    const factor = gamma!.map((g, i) => g / Math.sqrt(variance![i]! + names.epsilon));
    return { factor, shift: beta!.map((b, i) => b - mean![i]! * factor[i]!) };
  };
  return {
    name: source.name,
    names: () => source.names(),
    close: async () => source.close?.(),
    shape(tensor): Shape | undefined {
      const norm = normOf(tensor);
      return source.shape(norm && tensor.endsWith(".bias") ? `${norm}.bias` : tensor);
    },
    async readFloat32(tensor) {
      const norm = normOf(tensor);
      if (!norm) return source.readFloat32(tensor);
      const { factor, shift } = await statistics(norm);
      if (tensor.endsWith(".bias")) return Float32Array.from(shift);
      const weight = await source.readFloat32(tensor);
      const perOutput = weight.length / factor.length;
      return weight.map((w, i) => w * factor[Math.floor(i / perOutput)]!);
    },
  };
}
