import { sumRows } from "./broadcast.ts";
import { scale as scaled } from "./elementwise.ts";
import { activationGradient } from "./activation.ts";
import { type FusedActivation, planGemm } from "./gemm.ts";
import {
  type GradientContext,
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
import { reshape } from "./reshape.ts";
import { transpose } from "./transpose.ts";
import { linearWeightGradient } from "./weight-gradient.ts";
import matmulWgsl from "../shaders/matmul.wgsl";

export type MatmulAttributes = {
  readonly transposeB: boolean;
  readonly activation: FusedActivation;
  readonly scale: number;
};

interface Sizes {
  readonly rows: number;
  readonly k: number;
  readonly n: number;
  readonly batches: number;
  readonly oneB: boolean;
}

function sizes(a: TensorType, b: TensorType, transposeB: boolean): Sizes {
  if (a.shape.length < 2 || b.shape.length < 2) {
    throw new ShapeError("matmul", `operands need at least two dimensions: ${formatType(a)} x ${formatType(b)}`);
  }
  const k = a.shape.at(-1)!;
  const [bk, n] = transposeB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  if (k !== bk) {
    throw new ShapeError("matmul", `inner lengths differ: ${formatType(a)} x ${formatType(b)}${transposeB ? " transposed" : ""}`);
  }
  const oneB = b.shape.length === 2;
  if (!oneB && !sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2))) {
    throw new ShapeError("matmul", `batches differ: ${formatType(a)} x ${formatType(b)}`);
  }
  // With one B all rows of all batches form one product.
  const all = elementCount(a.shape.slice(0, -1));
  const batches = oneB ? 1 : elementCount(a.shape.slice(0, -2));
  return { rows: all / batches, k, n, batches, oneB };
}

/** Place of the residual among the inputs of matmul, conv2d and conv2d-gradient. */
export const RESIDUAL = 4;

/**
 * Inputs: a [..., M, K]; b [K, N] or [..., K, N] (transposeB: [N, K]); bias [N]; an unused place; residual of the output's shape.
 * Output [..., M, N] = (activation(a b + bias) + residual) * scale.
 */
export const matmulKernel: Kernel<MatmulAttributes> = {
  name: "matmul",
  readsPanels: [1],
  infer(inputs, { transposeB }) {
    const a = need("matmul", inputs, 0, "a");
    const b = need("matmul", inputs, 1, "b", undefined, ["f32", "f16"], true);
    const { n } = sizes(a, b, transposeB);
    const out = f32([...a.shape.slice(0, -1), n]);
    const [, , bias, , residual] = inputs;
    if (bias && !sameShape(bias.shape, [n])) throw new ShapeError("matmul", `bias must be [${n}], got ${formatType(bias)}`);
    if (residual && !sameShape(residual.shape, out.shape)) {
      throw new ShapeError("matmul", `residual must be [${out.shape.join(",")}], got ${formatType(residual)}`);
    }
    return [out];
  },
  plan({ inputs, attributes, capabilities }) {
    const { rows, k, n, batches, oneB } = sizes(inputs[0]!, inputs[1]!, attributes.transposeB);
    const size = { rows, k, n, batches, taps: 1, rowsPerImage: rows, bBatchStride: oneB ? 0 : k * n };
    const epilogue = { ...attributes, hasBias: inputs[2] !== undefined, hasResidual: inputs[4] !== undefined };
    return planGemm({ name: "matmul", text: matmulWgsl }, size, epilogue, inputs[1]!, attributes.transposeB, capabilities);
  },
  addend: ({ scale }) => (scale === 1 ? RESIDUAL : undefined),
  cost(inputs, _outputs, { transposeB }) {
    const { rows, k, n, batches } = sizes(inputs[0]!, inputs[1]!, transposeB);
    return { flops: 2 * rows * k * n * batches };
  },
  gradient([dy], context) {
    const { g, inputs, attributes, wanted } = context;
    if (!dy) return [];
    const { dSum, dResidual } = epilogueGradient(
      dy,
      context,
      (activation) => g.apply(matmulKernel, [inputs[0], inputs[1], inputs[2]], { ...attributes, activation, scale: 1 })[0]!,
    );
    const [a, b] = inputs;
    const da = wanted[0] ? matmul(g, dSum, b!, { transposeB: !attributes.transposeB }) : undefined;
    const db = wanted[1] ? rightGradient(g, a!, b!, dSum, attributes.transposeB) : undefined;
    return [da, db, wanted[2] ? sumRows(g, dSum, inputs[2]!.type.shape) : undefined, undefined, dResidual];
  },
};

/** dB of C = A B: A^T dC, or dC^T A for a transposed B. One B shared by all batches takes all rows at once. */
export function rightGradient(g: Recorder, a: Value, b: Value, dSum: Value, transposeB: boolean): Value {
  const [left, right] = transposeB ? [dSum, a] : [a, dSum];
  return b.type.shape.length === 2 ? linearWeightGradient(g, left, right) : matmul(g, transpose(g, left), right);
}

/**
 * What the cotangent of y = (activation(sum) + residual) * scale becomes before and at the residual.
 * @param sum records the same product with another activation, to have the sum again.
 */
export function epilogueGradient(
  dy: Value,
  { g, attributes, wanted }: GradientContext<{ activation: FusedActivation; scale: number }>,
  sum: (activation: "none") => Value,
): { dSum: Value; dResidual: Value | undefined } {
  const { activation, scale } = attributes;
  const dScaled = scale === 1 ? dy : scaled(g, dy, scale);
  return {
    dSum: activation === "none" ? dScaled : activationGradient(g, dScaled, sum("none"), activation),
    dResidual: wanted[4] ? dScaled : undefined,
  };
}

export interface MatmulOptions {
  readonly transposeB?: boolean;
  readonly bias?: Value | undefined;
  readonly activation?: FusedActivation;
  readonly residual?: Value | undefined;
  readonly scale?: number;
}

/**
 * a [..., M, K] times b [K, N] or [..., K, N] ([N, K] with transposeB), with the fused epilogue.
 * @throws ShapeError on shapes that do not fit.
 */
export function matmul(g: Recorder, a: Value, b: Value, options: MatmulOptions = {}): Value {
  const { transposeB = false, bias, activation = "none", residual, scale = 1 } = options;
  return g.apply(matmulKernel, [a, b, bias, undefined, residual], { transposeB, activation, scale })[0]!;
}

/** A linear layer: x [..., in] times weight [in, out] (stored transposed) plus bias [out]. */
export function linear(g: Recorder, x: Value, weight: Value, options: Omit<MatmulOptions, "transposeB"> = {}): Value {
  return x.type.shape.length === 1
    ? reshape(g, matmul(g, reshape(g, x, [1, x.type.shape[0]!]), weight, options), [weight.type.shape[1]!])
    : matmul(g, x, weight, options);
}
