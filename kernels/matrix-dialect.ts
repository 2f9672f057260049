/** How a version of WGSL spells products on matrix units. */
export interface MatrixDialect {
  readonly name: string;
  /** The device's feature. */
  readonly feature: string;
  /** What a shader enables. */
  readonly extension: string;
  /** Loads and stores take a flag for column-major, and arrays of scalars alone; the others name the order. */
  readonly flags: boolean;
  /** A product added to a sum of type `Sum`. */
  readonly multiply: string;
}

/**
 * The dialects in which a shader is tried: Dawn's experimental one; WGSL's draft (gpuweb proposals/subgroup-matrix.md, 14 August 2026),
 * whose product names its type, and the same with the type left to be found; Dawn's until 2025, seen in its tests of that time.
 */
export const MATRIX_DIALECTS: readonly MatrixDialect[] = [
  {
    name: "Dawn",
    feature: "chromium-experimental-subgroup-matrix",
    extension: "chromium_experimental_subgroup_matrix",
    flags: false,
    multiply: "subgroupMatrixMultiplyAccumulate",
  },
  {
    name: "draft",
    feature: "subgroup-matrix",
    extension: "subgroup_matrix",
    flags: false,
    multiply: "subgroupMatrixMultiplyAccumulate<Sum>",
  },
  {
    name: "draft, untyped",
    feature: "subgroup-matrix",
    extension: "subgroup_matrix",
    flags: false,
    multiply: "subgroupMatrixMultiplyAccumulate",
  },
  {
    name: "older Dawn",
    feature: "chromium-experimental-subgroup-matrix",
    extension: "chromium_experimental_subgroup_matrix",
    flags: true,
    multiply: "subgroupMatrixMultiplyAccumulate",
  },
];
