import gradientWgsl from "../shaders/matmul-geglu-gradient.wgsl";
import matmulWgsl from "../shaders/matmul.wgsl";
import { sumRows } from "./broadcast.ts";
import { planGemm } from "./gemm.ts";
import {
  type Kernel, type NoAttributes, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { matmul, rightGradient } from "./matmul.ts";
import { vectorwise } from "./pointwise.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";

/** Sizes of a product of a [.., K] and b [K, N], N columns in twos of values and gates. @throws ShapeError */
function sizes(a: TensorType, b: TensorType, bias: TensorType | undefined): { rows: number; k: number; n: number } {
  const [k, n] = b.shape as [number, number];
  if (a.shape.length < 2 || a.shape.at(-1) !== k) {
    throw new ShapeError(`a ${formatType(a)} must have the ${k} rows of b ${formatType(b)} as its last dimension`);
  }
  if (k % 4 !== 0 || n % 4 !== 0) throw new ShapeError(`b must have multiples of 4 rows and columns, got ${formatType(b)}`);
  if (bias && !sameShape(bias.shape, [n])) throw new ShapeError(`bias must be [${n}], got ${formatType(bias)}`);
  return { rows: elementCount(a.shape) / k, k, n };
}

/**
 * a [.., K]; b [K, 2N] and bias [2N], whose columns are two values, their two gates, two values... Outputs: y, value * gelu(gate) [.., N],
 * and the biased sums [.., 2N] that the gradient reads.
 */
export const matmulGegluKernel: Kernel<NoAttributes, "a" | "b", "y" | "sums", "bias"> = {
  name: "matmul-geglu",
  inputs: { a: {}, b: { rank: 2, dtypes: ["f32", "f16"], reads: ["panels"] }, bias: { optional: true } },
  outputs: ["y", "sums"],
  sparesOutputs: ["sums"],
  infer({ a, b, bias }) {
    const { n } = sizes(a, b, bias);
    const rest = a.shape.slice(0, -1);
    return { y: f32([...rest, n / 2]), sums: f32([...rest, n]) };
  },
  plan({ inputs: { a, b, bias }, read, capabilities }) {
    const size = sizes(a, b, bias);
    return planGemm({
      shader: { name: "matmul-geglu", text: matmulWgsl },
      size: { ...size, batches: 1, taps: 1, bBatchStride: 0, rowsPerImage: size.rows },
      epilogue: { bias, geglu: read.sums ? "with sums" : "alone" },
      operands: { a: "a", b: "b", c: "y" },
      b,
      capabilities,
    });
  },
  cost({ a, b, bias }) {
    const { rows, k, n } = sizes(a, b, bias);
    return { flops: rows * n * (2 * k + 15.5) };
  },
  gradient({ y: dy, sums: dSums }, { g, inputs: { a, b, bias }, outputs: { sums }, wanted }) {
    if (dSums) throw new ShapeError("has no gradient rule for its biased sums");
    if (!dy) return {};
    const d = g.apply(matmulGegluGradientKernel, { dy, sums }, {}).dSums;
    return {
      a: wanted.a ? matmul(g, d, b, { transposeB: true }) : undefined,
      b: wanted.b ? rightGradient(g, a, b, d, false) : undefined,
      bias: wanted.bias ? sumRows(g, d, bias!.type.shape) : undefined,
    };
  },
};

/** From the cotangent dy [.., N] of matmul-geglu's product and its biased sums [.., 2N] the cotangent of the sums. */
export const matmulGegluGradientKernel: Kernel<NoAttributes, "dy" | "sums", "dSums"> = {
  name: "matmul-geglu-gradient",
  inputs: { dy: {}, sums: {} },
  outputs: ["dSums"],
  infer({ dy, sums }) {
    if (!sameShape(sums.shape, [...dy.shape.slice(0, -1), 2 * dy.shape.at(-1)!])) {
      throw new ShapeError(`dy ${formatType(dy)} must be half as wide as the sums ${formatType(sums)}`);
    }
    return { dSums: sums };
  },
  plan: ({ inputs: { sums } }) => ({
    dispatches: [
      vectorwise({ name: "matmul-geglu-gradient", text: gradientWgsl }, sums, {}, { defines: ACTIVATION_DEFINES }),
    ],
  }),
  cost: ({ dy }) => ({ flops: elementCount(dy.shape) * 66 }),
};

/**
 * GEGLU of a product in its epilogue: a [.., K] times b [K, 2N] plus bias [2N], then value * gelu(gate) -> [.., N], f32. The columns of b
 * and bias alternate two values and their two gates, so that whatever computes four columns has both. The gelu is exact (Shazeer, arXiv
 * 2002.05202).
 * @throws ShapeError unless K and 2N are multiples of 4 and the shapes fit
 */
export function matmulGeglu(g: Recorder, a: Value, b: Value, bias: Value): Value {
  return g.apply(matmulGegluKernel, { a, b, bias }, {}).y;
}
