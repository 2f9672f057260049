import { type Capabilities, type Defines, type Dispatch, type ShaderSource, ShapeError, type TensorType, formatType, spread } from "./kernel.ts";
import { NARROW, defaultStructure, gemmClass, gemmTile, narrowTile } from "./gemm-variants.ts";
import activationsWgsl from "../shaders/lib/activations.wgsl";
import gemmWgsl from "../shaders/lib/gemm.wgsl";

/** What the epilogue of a matrix product applies to the biased sum. */
export type FusedActivation = "none" | "silu" | "gelu" | "quickGelu" | "relu";

const ACTIVATE: Readonly<Record<FusedActivation, string>> = { none: "identity4", silu: "silu4", gelu: "gelu4", quickGelu: "quickGelu4", relu: "relu4" };

/** One matrix product as the shared shader core takes it: rows of A times B[tap], summed over taps. */
export interface GemmSize {
  readonly rows: number;
  readonly n: number;
  readonly k: number;
  readonly batches: number;
  readonly taps: number;
  /** Rows that share one row of batchBias. */
  readonly rowsPerImage: number;
  /** Elements of B between batches; 0 for one B. */
  readonly bBatchStride: number;
}

export interface GemmEpilogue {
  readonly activation: FusedActivation;
  readonly scale: number;
  readonly hasBias: boolean;
  /** Where its rows lie, in elements; undefined if there is none. */
  readonly batchBias?: { readonly stride: number; readonly offset: number } | undefined;
  readonly hasResidual: boolean;
  /** GEGLU of columns that alternate two values and their two gates, instead of all of the above but the bias; with `keep` output 1 gets the biased sums. */
  readonly gated?: { readonly keep: boolean };
}

/** The dispatch of a matrix product: inputs are bound in the order a, b, bias, batchBias, residual. */
export function gemmDispatch(
  shader: ShaderSource,
  size: GemmSize,
  epilogue: GemmEpilogue,
  b: TensorType,
  transposeB: boolean,
  capabilities: Capabilities,
  extra: { readonly params?: Readonly<Record<string, number>>; readonly defines?: Defines } = {},
): Dispatch {
  const vec4 = size.k % 4 === 0 && size.n % 4 === 0;
  const variant = capabilities.gemm?.[gemmClass(epilogue.gated ? "matmul" : shader.name, transposeB, size.rows * size.n * size.batches)] ?? defaultStructure(capabilities);
  const tile = size.n <= NARROW ? narrowTile() : gemmTile(variant, capabilities, vec4 && transposeB);
  const columnTiles = Math.ceil(size.n / tile.columns);
  const rowTiles = Math.ceil(size.rows / tile.rows);
  if (b.panels && !vec4) throw new ShapeError(shader.name, `a weight in panels must have a multiple of 4 rows, got ${formatType(b)}`);
  return {
    shader,
    defines: {
      VEC4: vec4,
      TRANSPOSE_B: transposeB,
      PANELS: b.panels === true,
      B_F16: b.dtype === "f16",
      GATED: epilogue.gated !== undefined,
      KEEP: epilogue.gated?.keep === true,
      ACTIVATE: ACTIVATE[epilogue.activation],
      GEMM: gemmWgsl,
      ...tile.defines,
      ACTIVATIONS: epilogue.activation === "none" && !epilogue.gated ? "" : activationsWgsl,
      ...extra.defines,
    },
    bindings: {
      a: { input: 0 },
      b: { input: 1 },
      bias: epilogue.hasBias ? { input: 2 } : "nothing",
      batchBias: epilogue.batchBias ? { input: 3 } : "nothing",
      residual: epilogue.hasResidual ? { input: 4 } : "nothing",
      c: { output: 0 },
      ...(epilogue.gated?.keep && { sums: { output: 1 } }),
    },
    params: {
      ...size,
      columnTiles,
      rowTiles,
      // With B larger than A, all row tiles of one column run before the next, so that B is read from memory once (1280 channels at 16x16: 1.6x on lavapipe).
      rowsFirst: Number(size.taps * size.n > size.rows),
      hasBias: Number(epilogue.hasBias),
      hasBatchBias: Number(epilogue.batchBias !== undefined),
      batchBiasStride: epilogue.batchBias?.stride ?? 0,
      batchBiasOffset: epilogue.batchBias?.offset ?? 0,
      hasResidual: Number(epilogue.hasResidual),
      scale: epilogue.scale,
      ...extra.params,
    },
    workgroups: spread(Math.ceil((columnTiles * rowTiles * size.batches) / tile.perWorkgroup)),
  };
}
