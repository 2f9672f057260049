import type { Shape } from "../../kernels/kernel.ts";
import type { WeightSource } from "../nn/parameters.ts";

const EPSILON = 1e-5; // torch's BatchNorm2d default, which ResNetForImageClassification uses

/**
 * A weight source in which every `X.convolution` followed by `X.normalization` (batch norm, in inference) reads as one convolution with a
 * bias:
 * weight * gamma / sqrt(variance + epsilon) and beta - mean * gamma / sqrt(variance + epsilon).
 */
export function foldBatchNorm(source: WeightSource): WeightSource {
  const normOf = (tensor: string): string | undefined => {
    const match = /^(.*)\.convolution\.(weight|bias)$/.exec(tensor);
    const norm = match && `${match[1]}.normalization`;
    return norm && source.shape(`${norm}.running_var`) ? norm : undefined;
  };
  const statistics = async (norm: string): Promise<{ factor: Float32Array; shift: Float32Array }> => {
    const [gamma, beta, mean, variance] = await Promise.all(
      ["weight", "bias", "running_mean", "running_var"].map((n) => source.readFloat32(`${norm}.${n}`)),
    );
    const factor = gamma!.map((g, i) => g / Math.sqrt(variance![i]! + EPSILON));
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
