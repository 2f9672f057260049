import type { MatrixConfig } from "../../../kernels/kernel.ts";

/** WebGPU's feature for shaders that state the size of their subgroups; no type of WebGPU's knows it yet. */
export const SIZE_CONTROL = "subgroup-size-control";

/** The features for matrix units, Dawn's experimental one and the draft's: those of `MATRIX_DIALECTS`. */
export const MATRIX_FEATURES: readonly string[] = ["chromium-experimental-subgroup-matrix", "subgroup-matrix"];

interface OfferedConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** The configurations that an adapter says its matrix units have, of those that add up in f32. */
export function offeredMatrices(info: GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly OfferedConfig[] }): MatrixConfig[] {
  return [...(info.subgroupMatrixConfigs ?? [])].flatMap(({ componentType: component, resultComponentType, M: m, N: n, K: k }) =>
    (component === "f16" || component === "f32") && resultComponentType === "f32" ? [{ component, m, n, k }] : [],
  );
}

/** What was found of a configuration when the device was opened. */
export interface MatrixCheck {
  readonly config: MatrixConfig;
  /** It compiled and gave numbers. */
  readonly ran: boolean;
  /** Relative L2, of products in float64; null if it did not run, or gave what is no number. */
  readonly error: number | null;
  /** Why it is not used; null: it may be. */
  readonly problem: string | null;
}

/** `f16 16 x 8 x 16`: operands, rows, columns, inner length. */
export function matrixName({ component, m, n, k }: MatrixConfig): string {
  return `${component} ${m} x ${n} x ${k}`;
}
