import {
  type GemmClass,
  type GemmSizeClass,
  type GemmStructure,
  type GemmVariant,
  type MathMode,
  type SplitTarget,
  parseVariant,
  variantOf,
} from "./gemm-table.ts";
import type { Capabilities, Defines } from "./kernel.ts";
import { type MatrixTile, matrixConfig, matrixTile } from "./matrix-tile.ts";
import broadcastWgsl from "../shaders/lib/gemm-broadcast.wgsl";
import matrixWgsl from "../shaders/lib/gemm-matrix.wgsl";
import registerWgsl from "../shaders/lib/gemm-register.wgsl";
import paramsWgsl from "../shaders/lib/gemm-params.wgsl";
import gemmWgsl from "../shaders/lib/gemm.wgsl";
import sumWgsl from "../shaders/lib/gemm-sum.wgsl";
import workgroupWgsl from "../shaders/lib/gemm-workgroup.wgsl";
import conv2dWgsl from "../shaders/conv2d.wgsl";
import matmulWgsl from "../shaders/matmul.wgsl";

/** Tiles through workgroup memory: threads down and across, rows of a thread, and whether it owns eight columns or four. */
const WORKGROUP_TILES = {
  "workgroup-32": { down: 8, across: 8, rows: 4, wide: false }, // 32 x 32
  "workgroup-64x32": { down: 8, across: 8, rows: 8, wide: false },
  "workgroup-64": { down: 8, across: 8, rows: 8, wide: true }, // 64 x 64
  "workgroup-128": { down: 16, across: 8, rows: 8, wide: true }, // 128 x 64
  "workgroup-128x128": { down: 16, across: 16, rows: 8, wide: true },
} as const;

/**
 * Results of fewer elements are "small": of 64 x 64 they have less than 32 tiles, which leave most of a GPU idle; of fewer than "large"
 * less than 256.
 */
const MEDIUM_FROM = 2 ** 17;
const LARGE_FROM = 2 ** 20;

/** Columns of the narrow tile. */
export const NARROW = 4;

/** @param outputs elements of the result, all batches */
export function gemmClass(op: string, transposeB: boolean, outputs: number): GemmClass {
  const size: GemmSizeClass = outputs < MEDIUM_FROM ? "small" : outputs < LARGE_FROM ? "medium" : "large";
  return `${op}${op === "matmul" && transposeB ? "-transposed" : ""} ${size}` as GemmClass;
}

/**
 * What is worth measuring for results of each size, the plain one first: small tiles and many parts for few results, large tiles for many.
 */
const WORTH_MEASURING: Readonly<Record<GemmSizeClass, readonly (readonly [GemmStructure, SplitTarget?])[]>> = {
  small: [
    ["register"],
    ["broadcast"],
    ["workgroup-32"],
    ["workgroup-32", 512],
    ["workgroup-64x32", 512],
    ["workgroup-64", 256],
    ["workgroup-64", 512],
    ["workgroup-64", 1024],
    ["matrix-small", 256],
    ["matrix-small", 512],
    ["matrix-deep", 256],
    ["matrix-deep", 512],
    ["matrix", 256],
  ],
  medium: [
    ["register"],
    ["broadcast"],
    ["workgroup-64x32"],
    ["workgroup-64"],
    ["workgroup-64", 512],
    ["workgroup-64", 1024],
    ["workgroup-128"],
    ["workgroup-128", 512],
    ["matrix-small"],
    ["matrix-small", 512],
    ["matrix-small", 1024],
    ["matrix", 256],
    ["matrix", 512],
    ["matrix-deep"],
    ["matrix-deep", 512],
    ["matrix-deep", 1024],
  ],
  large: [
    ["register"], ["broadcast"], ["workgroup-64"], ["workgroup-64", 1024], ["workgroup-128"], ["workgroup-128", 512], ["workgroup-128x128"],
    ["matrix-small"], ["matrix"], ["matrix", 256], ["matrix", 512],
    ["matrix-deep"], ["matrix-deep", 1024],
  ],
};

/** Every variant that a device can run at this precision and that is worth measuring for a size, the plain one first. */
export function variantsFor(capabilities: Capabilities, math: MathMode, size: GemmSizeClass): GemmVariant[] {
  const half = math !== "f32";
  const units = matrixConfig(capabilities, "f16") !== undefined;
  return WORTH_MEASURING[size]
    .flatMap(([structure, split]) => {
      // Where matrix units take f16, nothing else does so faster.
      const asHalf = half && (structure.startsWith("matrix") || !units || math === "f16") ? [variantOf(structure, true, split)] : [];
      return [...(math === "f16" ? [] : [variantOf(structure, false, split)]), ...asHalf];
    })
    .filter((v) => whyNot(v, capabilities) === undefined);
}

/**
 * The structure for a device that nothing was measured on. Subgroup broadcast on software adapters (8 lanes: lavapipe, 4 lanes:
 * SwiftShader), where it was measured 2 to 4 times faster than anything else; elsewhere the one that takes nothing for granted.
 */
export function defaultStructure(capabilities: Capabilities): GemmStructure {
  return capabilities.software && whyNot("broadcast", capabilities) === undefined ? "broadcast" : "register";
}

/** Why a device cannot run a variant, in words; undefined if it can. */
export function whyNot(variant: GemmVariant, capabilities: Capabilities): string | undefined {
  const { structure, half } = parseVariant(variant);
  const { subgroupSize, shaderF16, maxComputeWorkgroupStorageSize: memory } = capabilities;
  if (half && !shaderF16) return "needs the shader-f16 feature, and half precision to be allowed (--math f16 or auto)";
  if (structure === "broadcast" && subgroupSize !== 4 && subgroupSize !== 8) {
    return `needs subgroups of 4 or 8 lanes, the device has ${subgroupSize === 0 ? "none of a fixed size" : subgroupSize}`;
  }
  if (!onMatrixUnits(structure)) return undefined;
  const component = half ? "f16" : "f32";
  if (!matrixConfig(capabilities, component)) {
    if (!half && matrixConfig(capabilities, "f16")) return "takes f16 operands only on this device (--math f16 or auto)";
    return `needs matrix units that multiply ${component} and add up in f32, in subgroups of a fixed size`;
  }
  const tile = matrixTileOf(structure, half, capabilities);
  if (!tile) return "has no tile for the matrix units of this device";
  return tile.bytes > memory ? `needs ${tile.bytes} bytes of workgroup memory, the device has ${memory}` : undefined;
}

/** Whether a structure computes on matrix units. */
export function onMatrixUnits(structure: GemmStructure): structure is MatrixStructure {
  return structure.startsWith("matrix");
}

type MatrixStructure = Extract<GemmStructure, `matrix${string}`>;

function matrixTileOf(structure: MatrixStructure, half: boolean, capabilities: Capabilities): MatrixTile | undefined {
  const config = matrixConfig(capabilities, half ? "f16" : "f32");
  return config && matrixTile(config, capabilities.matrixUnits!, structure === "matrix" ? 4 : 2, structure === "matrix-deep" ? 64 : 32);
}

/** All that a measured choice depends on: with another text it is measured again. */
export const GEMM_SOURCES: readonly string[] = [
  paramsWgsl,
  gemmWgsl,
  matmulWgsl,
  conv2dWgsl,
  registerWgsl,
  broadcastWgsl,
  workgroupWgsl,
  matrixWgsl,
  sumWgsl,
];

/** A variant as the shader's defines, and the part of the result that a workgroup computes. */
export interface GemmTile {
  readonly rows: number;
  readonly columns: number;
  /** Tiles computed by one workgroup. */
  readonly perWorkgroup: number;
  /** Elements of k that a step takes, of those that can share their steps among workgroups. */
  readonly step?: number;
  readonly defines: Defines;
}

/**
 * The tile for at most four columns, as a convolution to a latent or a picture has, on every device: the wider tiles would compute seven
 * columns in eight for nothing (3x3 from 320 to 4 channels at 32x32: 4.9 to 2.6 ms on lavapipe, 18 to 6 ms on SwiftShader).
 */
export function narrowTile(): GemmTile {
  return { rows: 256, columns: NARROW, perWorkgroup: 1, defines: { HALF: false, ENABLE: "", TILE: registerWgsl, COLUMN_THREADS: 1 } };
}

/** The second dispatch of a split product, a thread for each vec4 of the result. */
export function sumTile(): Pick<GemmTile, "defines"> {
  return { defines: { HALF: false, ENABLE: "", TILE: sumWgsl } };
}

/** @param blocks B is transposed and read in vec4s. */
export function gemmTile(variant: GemmVariant, capabilities: Capabilities, blocks: boolean): GemmTile {
  const { structure, half } = parseVariant(variant);
  const lanes = capabilities.subgroupSize;
  const matrix = onMatrixUnits(structure);
  const enable = [
    ...(structure === "broadcast" || matrix ? ["enable subgroups;"] : []),
    ...(half ? ["enable f16;"] : []),
    ...(matrix ? [`enable ${capabilities.matrixUnits!.dialect.extension};`] : []),
  ].join("\n");
  const common = { HALF: half, ENABLE: enable };
  if (structure === "broadcast") {
    return {
      rows: 16,
      columns: 4 * lanes,
      perWorkgroup: 16 / lanes,
      defines: { ...common, TILE: broadcastWgsl, LANES: lanes, LOADS: 16 / lanes },
    };
  }
  if (structure === "register") {
    return { rows: 32, columns: 32, perWorkgroup: 1, defines: { ...common, TILE: registerWgsl, COLUMN_THREADS: 8 } };
  }
  if (matrix) {
    const { rows, columns, step, defines } = matrixTileOf(structure, half, capabilities)!;
    return { rows, columns, perWorkgroup: 1, step, defines: { ...common, ...defines, TILE: matrixWgsl, BLOCKS: blocks } };
  }
  const { down, across, rows, wide } = WORKGROUP_TILES[structure];
  const [tileRows, columns, threads] = [down * rows, across * (wide ? 8 : 4), down * across];
  const defines = {
    THREAD_ROWS: down, THREAD_COLUMNS: across, ROWS: rows, WIDE: wide, BLOCKS: blocks,
    LOADS_A: (tileRows * 4) / threads, LOADS_B: (columns * 4) / threads,
  };
  return { rows: tileRows, columns, perWorkgroup: 1, step: 16, defines: { ...common, TILE: workgroupWgsl, ...defines } };
}
