/** Dawn's experimental feature for matrix units; no type of WebGPU's knows it yet. */
export const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Whether an adapter says that it multiplies f16 matrices of 16 x 16 x 16 into f32 sums, which is what `gemm-matrix.wgsl` takes. */
export function offersMatrices(info: GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] }): boolean {
  return [...(info.subgroupMatrixConfigs ?? [])].some((c) => c.componentType === "f16" && c.resultComponentType === "f32" && c.M === 16 && c.N === 16 && c.K === 16);
}
