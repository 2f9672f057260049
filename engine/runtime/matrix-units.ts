import type { Dispatch, MatrixConfig, MatrixUnits } from "../../kernels/kernel.ts";
import { dialectProbe } from "../../kernels/matrix-tile.ts";

/** Dawn's experimental feature for matrix units; no type of WebGPU's knows it yet. */
export const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

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

/**
 * The matrix units that shaders can use, in the dialect that compiles here; undefined if none does.
 * @param configs what the adapter offers, and the device has features for
 * @param lanes of a subgroup
 * @param compiles whether the device takes a shader
 */
export async function usableMatrices(
  configs: readonly MatrixConfig[],
  lanes: number,
  compiles: (dispatch: Dispatch) => Promise<boolean>,
): Promise<MatrixUnits | undefined> {
  const [config] = configs;
  if (!config) return undefined;
  for (const old of [false, true]) {
    if (await compiles(dialectProbe(config, old))) return { configs, lanes, old };
  }
  return undefined;
}
