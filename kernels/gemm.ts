import { type Capabilities, type Defines, type Dispatch, type ShaderSource, ShapeError, type TensorType, formatType, spread } from "./kernel.ts";
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
  readonly hasBatchBias: boolean;
  readonly hasResidual: boolean;
}

interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Tiles computed by one workgroup. */
  readonly perWorkgroup: number;
  /** Lanes of the subgroup that owns a tile; 0: a workgroup owns it. */
  readonly lanes: number;
}

/**
 * The tile a device computes best. Subgroup broadcast on software adapters (8 lanes: lavapipe, 4 lanes: SwiftShader), where
 * it is 2 to 4 times faster than anything else; a register tile of 4 x 4 per thread elsewhere.
 */
function chooseTile(capabilities: Capabilities): Tile {
  // On other devices how lanes map to invocations is not ours to assume before it is probed.
  const lanes = capabilities.software ? capabilities.subgroupSize : 0;
  if (lanes === 8) return { rows: 8, columns: 32, perWorkgroup: 4, lanes };
  if (lanes === 4) return { rows: 16, columns: 16, perWorkgroup: 8, lanes };
  return { rows: 32, columns: 32, perWorkgroup: 1, lanes: 0 };
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
  const tile = chooseTile(capabilities);
  const columnTiles = Math.ceil(size.n / tile.columns);
  const rowTiles = Math.ceil(size.rows / tile.rows);
  const vec4 = size.k % 4 === 0 && size.n % 4 === 0;
  if (b.panels && !vec4) throw new ShapeError(shader.name, `a weight in panels must have a multiple of 4 rows, got ${formatType(b)}`);
  return {
    shader,
    defines: {
      VEC4: vec4,
      TRANSPOSE_B: transposeB,
      PANELS: b.panels === true,
      B_F16: b.dtype === "f16",
      SUBGROUPS: tile.lanes > 0,
      LANES: tile.lanes,
      LANES4: tile.lanes === 4,
      ROWS: tile.rows,
      ACTIVATE: ACTIVATE[epilogue.activation],
      SUBGROUPS_ENABLE: tile.lanes > 0 ? "enable subgroups;" : "",
      GEMM: gemmWgsl,
      ACTIVATIONS: epilogue.activation === "none" ? "" : activationsWgsl,
      ...extra.defines,
    },
    bindings: {
      a: { input: 0 },
      b: { input: 1 },
      bias: epilogue.hasBias ? { input: 2 } : "nothing",
      batchBias: epilogue.hasBatchBias ? { input: 3 } : "nothing",
      residual: epilogue.hasResidual ? { input: 4 } : "nothing",
      c: { output: 0 },
    },
    params: {
      ...size,
      columnTiles,
      rowTiles,
      // With B larger than A, all row tiles of one column run before the next, so that B is read from memory once (1280 channels at 16x16: 1.6x on lavapipe).
      rowsFirst: Number(size.taps * size.n > size.rows),
      hasBias: Number(epilogue.hasBias),
      hasBatchBias: Number(epilogue.hasBatchBias),
      hasResidual: Number(epilogue.hasResidual),
      scale: epilogue.scale,
      ...extra.params,
    },
    workgroups: spread(Math.ceil((columnTiles * rowTiles * size.batches) / tile.perWorkgroup)),
  };
}
