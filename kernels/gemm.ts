import {
  type Binding, type Capabilities, type Defines, type Dispatch, type Plan, type ShaderSource, ShapeError, type TensorType, columnsOf,
  formatType, isInPanels, spread,
} from "./kernel.ts";
import { type GemmTile, NARROW, defaultStructure, gemmClass, gemmTile, narrowTile, sumTile } from "./gemm-variants.ts";
import { parseVariant } from "./gemm-table.ts";
import activationsWgsl from "../shaders/lib/activations.wgsl";
import paramsWgsl from "../shaders/lib/gemm-params.wgsl";
import gemmWgsl from "../shaders/lib/gemm.wgsl";

/** What the epilogue of a matrix product applies to the biased sum. */
export type FusedActivation = "none" | "silu" | "gelu" | "quickGelu" | "relu";

const ACTIVATE: Readonly<Record<FusedActivation, string>> = {
  none: "identity4",
  silu: "silu4",
  gelu: "gelu4",
  quickGelu: "quickGelu4",
  relu: "relu4",
};

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

/** Finishes a product: (activation(sum + bias + batchBias) + residual) * scale, with whichever tensors there are. */
export interface GemmEpilogue {
  readonly activation?: FusedActivation;
  readonly scale?: number;
  /** [n] */
  readonly bias?: TensorType | undefined;
  /** [images, n] */
  readonly batchBias?: TensorType | undefined;
  /** Of the product's shape. */
  readonly residual?: TensorType | undefined;
  /**
   * GEGLU of columns that alternate two values and their two gates, instead of all of the above but the bias; "with sums": output `sums`
   * gets the biased sums.
   */
  readonly geglu?: "alone" | "with sums" | undefined;
}

/** A product as an op asks for it. Bias, batchBias, residual and sums are the op's inputs and output of these names. */
export interface Gemm {
  readonly shader: ShaderSource;
  readonly size: GemmSize;
  readonly epilogue?: GemmEpilogue;
  /** The op's names for the operands and the result. */
  readonly operands: { readonly a: string; readonly b: string; readonly c: string };
  readonly b: TensorType;
  readonly transposeB?: boolean;
  readonly capabilities: Capabilities;
  readonly params?: Readonly<Record<string, number>>;
  readonly defines?: Defines;
  /** Rows of A may be padding. */
  readonly padded?: boolean;
  /** The shader has a loadA of its own, element by element. */
  readonly gathersA?: boolean;
}

/** A part of a split product takes at least so many steps, or the parts' own traffic would weigh more than what they compute. */
const LEAST_STEPS = 4;
/** Bytes of a split product's parts, at most. */
const MOST_PARTS = 2 ** 26;

/** Workgroups that share a tile's steps, and how many each takes, so that there are about `target` of them. */
function splitting(
  size: GemmSize,
  tile: GemmTile,
  tiles: number,
  target: number,
): { readonly splits: number; readonly stepsPerSplit: number } {
  const steps = size.taps * Math.ceil(size.k / (tile.step ?? size.k));
  const wanted =
    tile.step === undefined
      ? 1
      : Math.min(
          Math.floor(target / tiles),
          Math.floor(steps / LEAST_STEPS),
          Math.floor(MOST_PARTS / (size.batches * size.rows * size.n * 4)),
        );
  const stepsPerSplit = Math.ceil(steps / Math.max(1, wanted));
  return { splits: Math.ceil(steps / stepsPerSplit), stepsPerSplit };
}

/** How a product is shared out among workgroups. */
interface Tiling {
  readonly tile: GemmTile;
  /** No step reaches beyond the inner length. */
  readonly whole: boolean;
  readonly columnTiles: number;
  readonly rowTiles: number;
  readonly tiles: number;
  readonly splits: number;
  readonly stepsPerSplit: number;
}

/** The tiles of the variant that is chosen for a product of this class and size. */
function tilingOf({ shader, size, epilogue = {}, transposeB = false, gathersA = false, capabilities }: Gemm, vec4: boolean): Tiling {
  const measured =
    capabilities.gemm?.[
      gemmClass(epilogue.geglu || gathersA ? "matmul" : shader.name, transposeB, size.rows * size.n * size.batches)
    ] ?? defaultStructure(capabilities);
  // Four columns make too few tiles for a GPU, however many rows there are: computing 28 more for nothing, in many parts, is faster there.
  const narrow = size.n <= NARROW;
  const variant = narrow && vec4 && !capabilities.software ? "workgroup-32/512" : measured;
  const tile = narrow && variant === measured ? narrowTile() : gemmTile(variant, capabilities, vec4 && transposeB);
  const columnTiles = Math.ceil(size.n / tile.columns);
  const rowTiles = Math.ceil(size.rows / tile.rows);
  const tiles = columnTiles * rowTiles * size.batches;
  return {
    tile, columnTiles, rowTiles, tiles,
    whole: tile.step === undefined || (vec4 && size.k % tile.step === 0),
    ...splitting(size, tile, tiles, vec4 ? parseVariant(variant).split : 0),
  };
}

/** The uniforms of every dispatch of a product. */
function paramsOf({ size, epilogue = {}, params }: Gemm, tiling: Tiling): Dispatch["params"] {
  const { scale = 1, bias, batchBias, residual } = epilogue;
  const { columnTiles, rowTiles, splits, stepsPerSplit } = tiling;
  const batchBiasRows = batchBias && (columnsOf(batchBias) ?? { stride: size.n, offset: 0 });
  return {
    ...size,
    columnTiles,
    rowTiles,
    // With B larger than A, all row tiles of one column run before the next, so that B is read from memory once (1280 channels at 16x16:
    // 1.6x on lavapipe).
    rowsFirst: Number(size.taps * size.n > size.rows),
    splits,
    stepsPerSplit,
    hasBias: Number(bias !== undefined),
    hasBatchBias: Number(batchBias !== undefined),
    batchBiasStride: batchBiasRows?.stride ?? 0,
    batchBiasOffset: batchBiasRows?.offset ?? 0,
    hasResidual: Number(residual !== undefined),
    scale,
    ...params,
  };
}

/**
 * A matrix product. Where its variant says so and its tiles are few, workgroups share a tile's steps and a second dispatch adds up their
 * parts (split-K): a 3x3 convolution of 1280 channels at 8x8 has 20 tiles of 64 x 64, in 720 steps, for a GPU's hundred processors.
 */
export function planGemm(gemm: Gemm): Plan {
  const { shader, size, epilogue = {}, operands, b, transposeB = false, padded = false, gathersA = false, defines } = gemm;
  const { activation = "none", bias, batchBias, residual, geglu } = epilogue;
  const vec4 = size.k % 4 === 0 && size.n % 4 === 0;
  if (isInPanels(b) && !vec4) throw new ShapeError(`a weight in panels must have a multiple of 4 rows, got ${formatType(b)}`);
  const tiling = tilingOf(gemm, vec4);
  const { tile, whole, tiles, splits } = tiling;
  const params = paramsOf(gemm, tiling);
  const dispatch = (
    part: Pick<GemmTile, "defines">,
    about: { readonly multiplies: boolean; readonly finishes: boolean },
    bindings: Readonly<Record<string, Binding>>,
    count: number,
  ): Dispatch => ({
    shader,
    defines: {
      VEC4: vec4,
      PADDED: padded || !whole,
      GATHER_A: about.multiplies && gathersA,
      TRANSPOSE_B: about.multiplies && transposeB,
      PANELS: about.multiplies && isInPanels(b),
      B_F16: about.multiplies && b.dtype === "f16",
      GATED: about.finishes && geglu !== undefined,
      KEEP: about.finishes && geglu === "with sums",
      SPLIT: !about.finishes,
      ACTIVATE: ACTIVATE[about.finishes ? activation : "none"],
      PARAMS: paramsWgsl,
      GEMM: gemmWgsl,
      ...part.defines,
      ...(about.multiplies && tile.step !== undefined && { WHOLE: whole }),
      ACTIVATIONS: about.finishes && (activation !== "none" || geglu) ? activationsWgsl : "",
      ...defines,
    },
    bindings: { bias: "nothing", batchBias: "nothing", residual: "nothing", ...bindings },
    params,
    workgroups: spread(count),
  });
  const present = (name: string, type: TensorType | undefined): Binding => (type ? { input: name } : "nothing");
  const result = {
    bias: present("bias", bias),
    batchBias: present("batchBias", batchBias),
    residual: present("residual", residual),
    c: { output: operands.c },
  } as const;
  const product = { a: { input: operands.a }, b: { input: operands.b } } as const;
  if (splits === 1) {
    return {
      dispatches: [dispatch(tile, { multiplies: true, finishes: true }, { ...product, ...result }, Math.ceil(tiles / tile.perWorkgroup))],
    };
  }
  const elements = size.batches * size.rows * size.n;
  return {
    dispatches: [
      dispatch(tile, { multiplies: true, finishes: false }, { ...product, c: { scratch: 0 } }, tiles * splits),
      dispatch(
        sumTile(),
        { multiplies: false, finishes: true },
        { a: { scratch: 0 }, b: "nothing", ...result },
        Math.ceil(elements / 4 / 64),
      ),
    ],
    scratch: [splits * elements * 4],
  };
}
