/** Ways to compute a tile of a matrix product; each is a snippet of `shaders/lib/gemm.wgsl`. */
export const GEMM_STRUCTURES = [
  "register",
  "broadcast",
  "workgroup-32",
  "workgroup-64x32",
  "workgroup-64",
  "workgroup-128",
  "workgroup-128x128",
  "matrix-small",
  "matrix-deep",
  "matrix",
] as const;
export type GemmStructure = (typeof GEMM_STRUCTURES)[number];

/** Workgroups that a product of fewer tiles may be split into, along its inner length. */
export type SplitTarget = 256 | 512 | 1024;

/** A structure, with operands as they are or rounded to f16; and with `/N` split into up to N workgroups where it has fewer tiles. */
export type GemmVariant = `${GemmStructure}${"" | "-f16"}${"" | `/${SplitTarget}`}`;

/** What `--math` says: f32 arithmetic, operands rounded to f16, or whichever was measured faster. */
export type MathMode = "f32" | "f16" | "auto";

const GEMM_OPS = ["matmul", "matmul-transposed", "conv2d", "conv2d-gradient"] as const;

/** By elements of the result: see `gemmClass`. */
export const GEMM_SIZES = ["small", "medium", "large"] as const;
export type GemmSizeClass = (typeof GEMM_SIZES)[number];

/** Products that are alike enough for one variant to be the best for all of them. */
export type GemmClass = `${(typeof GEMM_OPS)[number]} ${GemmSizeClass}`;
export const GEMM_CLASSES: readonly GemmClass[] = GEMM_OPS.flatMap((op) => GEMM_SIZES.map((size) => `${op} ${size}` as const));

/** The variant for each class of product. */
export type GemmTable = Readonly<Record<GemmClass, GemmVariant>>;

/** The size in a class's name. */
export function sizeOf(name: GemmClass): GemmSizeClass {
  return name.split(" ")[1] as GemmSizeClass;
}

/** A structure with the precision that `half` asks for. */
export function variantOf(structure: GemmStructure, half: boolean, split?: SplitTarget): GemmVariant {
  return `${structure}${half ? "-f16" : ""}${split ? `/${split}` : ""}` as GemmVariant;
}

/** `workgroup-64-f16/512` taken apart; `split` is 0 without one. */
export function parseVariant(variant: GemmVariant): { readonly structure: GemmStructure; readonly half: boolean; readonly split: number } {
  const [name = "", split = "0"] = variant.split("/");
  return { structure: name.replace(/-f16$/, "") as GemmStructure, half: name.endsWith("-f16"), split: Number(split) };
}

/** Whether a variant rounds its operands to f16. */
export function isHalf(variant: GemmVariant): boolean {
  return parseVariant(variant).half;
}

/** One variant for every class. */
export function uniformTable(variant: GemmVariant): GemmTable {
  return Object.fromEntries(GEMM_CLASSES.map((c) => [c, variant])) as GemmTable;
}
