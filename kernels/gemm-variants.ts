import { GEMM_CLASSES, GEMM_STRUCTURES, type GemmClass, type GemmStructure, type GemmTable, type GemmVariant, type MathMode } from "./gemm-table.ts";
import type { Capabilities, Defines } from "./kernel.ts";
import broadcastWgsl from "../shaders/lib/gemm-broadcast.wgsl";
import matrixWgsl from "../shaders/lib/gemm-matrix.wgsl";
import registerWgsl from "../shaders/lib/gemm-register.wgsl";
import gemmWgsl from "../shaders/lib/gemm.wgsl";
import workgroupWgsl from "../shaders/lib/gemm-workgroup.wgsl";
import conv2dWgsl from "../shaders/conv2d.wgsl";
import matmulWgsl from "../shaders/matmul.wgsl";

/** Results of fewer elements are "small": 32 tiles of 64 x 64 leave most of a GPU idle. */
const SMALL = 2 ** 17;

/** Columns of the narrow tile. */
export const NARROW = 4;

/** @param outputs elements of the result, all batches */
export function gemmClass(op: string, transposeB: boolean, outputs: number): GemmClass {
  return `${op}${op === "matmul" && transposeB ? "-transposed" : ""} ${outputs < SMALL ? "small" : "large"}` as GemmClass;
}

export function structureOf(variant: GemmVariant): GemmStructure {
  return variant.replace(/-f16$/, "") as GemmStructure;
}

export function isHalf(variant: GemmVariant): boolean {
  return variant.endsWith("-f16");
}

/** A structure with the precision that `half` asks for. */
export function variantOf(structure: GemmStructure, half: boolean): GemmVariant {
  return half ? `${structure}-f16` : structure;
}

/** Every variant a device can run at this precision, the plain one first. */
export function variantsFor(capabilities: Capabilities, math: MathMode): GemmVariant[] {
  const halves = math === "auto" ? [false, true] : [math === "f16"];
  return halves.flatMap((half) => GEMM_STRUCTURES.map((s) => variantOf(s, half))).filter((v) => whyNot(v, capabilities) === undefined);
}

/** One variant for every class. */
export function uniformTable(variant: GemmVariant): GemmTable {
  return Object.fromEntries(GEMM_CLASSES.map((c) => [c, variant])) as GemmTable;
}

/**
 * The structure for a device that nothing was measured on. Subgroup broadcast on software adapters (8 lanes: lavapipe, 4 lanes: SwiftShader), where
 * it was measured 2 to 4 times faster than anything else; elsewhere the one that takes nothing for granted.
 */
export function defaultStructure(capabilities: Capabilities): GemmStructure {
  return capabilities.software && whyNot("broadcast", capabilities) === undefined ? "broadcast" : "register";
}

/** Why a device cannot run a variant, in words; undefined if it can. */
export function whyNot(variant: GemmVariant, { subgroupSize, shaderF16, matrixUnits }: Capabilities): string | undefined {
  if (isHalf(variant) && !shaderF16) return "needs the shader-f16 feature, and half precision to be allowed (--math f16 or auto)";
  if (variant === "matrix") return "takes f16 operands only";
  if (structureOf(variant) === "matrix" && !matrixUnits) return "needs matrix units for f16 operands and f32 sums of 16 x 16 x 16, and subgroups of 32 lanes";
  if (structureOf(variant) === "broadcast" && subgroupSize !== 4 && subgroupSize !== 8) return `needs subgroups of 4 or 8 lanes, the device has ${subgroupSize === 0 ? "none of a fixed size" : subgroupSize}`;
  return undefined;
}

/** All that a measured choice depends on: with another text it is measured again. */
export const GEMM_SOURCES: readonly string[] = [gemmWgsl, matmulWgsl, conv2dWgsl, registerWgsl, broadcastWgsl, workgroupWgsl, matrixWgsl];

/** A variant as the shader's defines, and the part of the result that a workgroup computes. */
export interface GemmTile {
  readonly rows: number;
  readonly columns: number;
  /** Tiles computed by one workgroup. */
  readonly perWorkgroup: number;
  readonly defines: Defines;
}

/**
 * The tile for at most four columns, as a convolution to a latent or a picture has, on every device: the wider tiles would compute seven columns in eight for
 * nothing (3x3 from 320 to 4 channels at 32x32: 4.9 to 2.6 ms on lavapipe, 18 to 6 ms on SwiftShader).
 */
export function narrowTile(): GemmTile {
  return { rows: 256, columns: NARROW, perWorkgroup: 1, defines: { HALF: false, ENABLE: "", TILE: registerWgsl, COLUMN_THREADS: 1 } };
}

/** @param blocks B is transposed and read in vec4s. */
export function gemmTile(variant: GemmVariant, { subgroupSize: lanes }: Capabilities, blocks: boolean): GemmTile {
  const structure = structureOf(variant);
  const enable = [...(structure === "broadcast" || structure === "matrix" ? ["enable subgroups;"] : []), ...(isHalf(variant) ? ["enable f16;"] : []), ...(structure === "matrix" ? ["enable chromium_experimental_subgroup_matrix;"] : [])].join("\n");
  const common = { HALF: isHalf(variant), ENABLE: enable };
  if (structure === "broadcast") {
    return { rows: 16, columns: 4 * lanes, perWorkgroup: 16 / lanes, defines: { ...common, TILE: broadcastWgsl, LANES: lanes, LANES4: lanes === 4 } };
  }
  if (structure === "register") return { rows: 32, columns: 32, perWorkgroup: 1, defines: { ...common, TILE: registerWgsl, COLUMN_THREADS: 8 } };
  if (structure === "matrix") return { rows: 128, columns: 128, perWorkgroup: 1, defines: { ...common, TILE: matrixWgsl, BLOCKS: blocks } };
  const rows = structure === "workgroup-64" ? 64 : 128;
  return { rows, columns: 64, perWorkgroup: 1, defines: { ...common, TILE: workgroupWgsl, THREAD_ROWS: rows / 8, BLOCKS: blocks } };
}
