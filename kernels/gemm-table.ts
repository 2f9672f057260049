/** Ways to compute a tile of a matrix product; each is a snippet of `shaders/lib/gemm.wgsl`. */
export const GEMM_STRUCTURES = ["register", "broadcast", "workgroup-64", "workgroup-128", "matrix"] as const;
export type GemmStructure = (typeof GEMM_STRUCTURES)[number];

/** A structure, with operands as they are or rounded to f16. */
export type GemmVariant = GemmStructure | `${GemmStructure}-f16`;

/** What `--math` says: f32 arithmetic, operands rounded to f16, or whichever was measured faster. */
export type MathMode = "f32" | "f16" | "auto";

/** Products that are alike enough for one variant to be the best for all of them. */
export const GEMM_CLASSES = [
  "matmul small", "matmul large", "matmul-transposed small", "matmul-transposed large",
  "conv2d small", "conv2d large", "conv2d-gradient small", "conv2d-gradient large",
] as const;
export type GemmClass = (typeof GEMM_CLASSES)[number];

/** The variant for each class of product. */
export type GemmTable = Readonly<Record<GemmClass, GemmVariant>>;
