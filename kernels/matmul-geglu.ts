import gradientWgsl from "../shaders/matmul-geglu-gradient.wgsl";
import matmulWgsl from "../shaders/matmul.wgsl";
import { sumRows } from "./broadcast.ts";
import { planGemm } from "./gemm.ts";
import {
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { matmul, rightGradient } from "./matmul.ts";
import { ACTIVATION_DEFINES, planElements } from "./rows.ts";

/** Sizes of a product of a [.., K] and b [K, N], N columns in twos of values and gates. @throws ShapeError */
function sizes(a: TensorType, b: TensorType, bias: TensorType | undefined): { rows: number; k: number; n: number } {
  const [k, n] = b.shape as [number, number];
  if (a.shape.length < 2 || a.shape.at(-1) !== k) {
    throw new ShapeError("matmul-geglu", `a ${formatType(a)} must have the ${k} rows of b ${formatType(b)} as its last dimension`);
  }
  if (k % 4 !== 0 || n % 4 !== 0) throw new ShapeError("matmul-geglu", `b must have multiples of 4 rows and columns, got ${formatType(b)}`);
  if (bias && !sameShape(bias.shape, [n])) throw new ShapeError("matmul-geglu", `bias must be [${n}], got ${formatType(bias)}`);
  return { rows: elementCount(a.shape) / k, k, n };
}

/**
 * Inputs: a [.., K]; b [K, 2N] and bias [2N], whose columns are two values, their two gates, two values... Outputs: value * gelu(gate) [..,
 * N], and the biased sums [.., 2N] that the gradient reads.
 */
export const matmulGegluKernel: Kernel<Record<string, never>> = {
  name: "matmul-geglu",
  readsPanels: [1],
  sparesOutputs: [1],
  infer(inputs) {
    const a = need("matmul-geglu", inputs, 0, "a");
    const { n } = sizes(a, need("matmul-geglu", inputs, 1, "b", 2, ["f32", "f16"], true), inputs[2]);
    const rest = a.shape.slice(0, -1);
    return [f32([...rest, n / 2]), f32([...rest, n])];
  },
  plan({ inputs, read, capabilities }) {
    const size = { ...sizes(inputs[0]!, inputs[1]!, inputs[2]), batches: 1, taps: 1, bBatchStride: 0 };
    const epilogue = {
      activation: "none",
      scale: 1,
      hasBias: inputs[2] !== undefined,
      hasResidual: false,
      gated: { keep: read[1] === true },
    } as const;
    return planGemm(
      { name: "matmul-geglu", text: matmulWgsl },
      { ...size, rowsPerImage: size.rows },
      epilogue,
      inputs[1]!,
      false,
      capabilities,
    );
  },
  cost(inputs) {
    const { rows, k, n } = sizes(inputs[0]!, inputs[1]!, inputs[2]);
    return { flops: rows * n * (2 * k + 15.5) };
  },
  gradient([dy, dSums], { g, inputs, outputs, wanted }) {
    if (dSums) throw new ShapeError("matmul-geglu", "has no gradient rule for its biased sums");
    if (!dy) return [];
    const [a, b, bias] = inputs;
    const d = g.apply(matmulGegluGradientKernel, [dy, outputs[1]!], {})[0]!;
    return [
      wanted[0] ? matmul(g, d, b!, { transposeB: true }) : undefined,
      wanted[1] ? rightGradient(g, a!, b!, d, false) : undefined,
      wanted[2] ? sumRows(g, d, bias!.type.shape) : undefined,
    ];
  },
};

/** Inputs: cotangent dy [.., N] of matmul-geglu's product and its biased sums [.., 2N]; output: the cotangent of the sums. */
export const matmulGegluGradientKernel: Kernel<Record<string, never>> = {
  name: "matmul-geglu-gradient",
  infer(inputs) {
    const [dy, sums] = [need("matmul-geglu-gradient", inputs, 0, "dy"), need("matmul-geglu-gradient", inputs, 1, "sums")];
    if (!sameShape(sums.shape, [...dy.shape.slice(0, -1), 2 * dy.shape.at(-1)!])) {
      throw new ShapeError("matmul-geglu-gradient", `dy ${formatType(dy)} must be half as wide as the sums ${formatType(sums)}`);
    }
    return [sums];
  },
  plan({ inputs }) {
    const vectors = elementCount(inputs[1]!.shape) / 4;
    return {
      dispatches: [
        {
          shader: { name: "matmul-geglu-gradient", text: gradientWgsl },
          defines: ACTIVATION_DEFINES,
          bindings: { dy: { input: 0 }, sums: { input: 1 }, dSums: { output: 0 } },
          params: { vectors },
          workgroups: planElements(vectors),
        },
      ],
    };
  },
  cost: ([dy]) => ({ flops: elementCount(dy!.shape) * 66 }),
};

/**
 * GEGLU of a product in its epilogue: a [.., K] times b [K, 2N] plus bias [2N], then value * gelu(gate) -> [.., N], f32. The columns of b
 * and bias alternate two values and their two gates, so that whatever computes four columns has both. The gelu is exact (Shazeer, arXiv
 * 2002.05202).
 * @throws ShapeError unless K and 2N are multiples of 4 and the shapes fit
 */
export function matmulGeglu(g: Recorder, a: Value, b: Value, bias: Value): Value {
  return g.apply(matmulGegluKernel, [a, b, bias], {})[0]!;
}
