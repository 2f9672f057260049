import { sumRows } from "./broadcast.ts";
import { scale as scaled } from "./elementwise.ts";
import { activationGradient } from "./activation.ts";
import { type FusedActivation, planGemm } from "./gemm.ts";
import {
  type Kernel, type Recorder, type Shape, ShapeError, type TensorType, type Value, elementCount, f32, formatType, sameShape,
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
    throw new ShapeError(`operands need at least two dimensions: ${formatType(a)} x ${formatType(b)}`);
  }
  const k = a.shape.at(-1)!;
  const [bk, n] = transposeB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  if (k !== bk) {
    throw new ShapeError(`inner lengths differ: ${formatType(a)} x ${formatType(b)}${transposeB ? " transposed" : ""}`);
  }
  const oneB = b.shape.length === 2;
  if (!oneB && !sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2))) {
    throw new ShapeError(`batches differ: ${formatType(a)} x ${formatType(b)}`);
  }
  // With one B all rows of all batches form one product.
  const all = elementCount(a.shape.slice(0, -1));
  const batches = oneB ? 1 : elementCount(a.shape.slice(0, -2));
  return { rows: all / batches, k, n, batches, oneB };
}

/** @throws ShapeError for a residual of another shape than what it is added to */
export function needResidual(residual: TensorType | undefined, shape: Shape): void {
  if (residual && !sameShape(residual.shape, shape)) {
    throw new ShapeError(`residual must be [${shape.join(",")}], got ${formatType(residual)}`);
  }
}

/**
 * a [..., M, K]; b [K, N] or [..., K, N] (transposeB: [N, K]); bias [N]; residual of the output's shape.
 * y [..., M, N] = (activation(a b + bias) + residual) * scale.
 */
export const matmulKernel: Kernel<MatmulAttributes, "a" | "b", "y", "bias" | "residual"> = {
  name: "matmul",
  inputs: { a: {}, b: { dtypes: ["f32", "f16"], reads: ["panels"] }, bias: { optional: true }, residual: { optional: true } },
  infer({ a, b, bias, residual }, { transposeB }) {
    const { n } = sizes(a, b, transposeB);
    const y = f32([...a.shape.slice(0, -1), n]);
    if (bias && !sameShape(bias.shape, [n])) throw new ShapeError(`bias must be [${n}], got ${formatType(bias)}`);
    needResidual(residual, y.shape);
    return { y };
  },
  plan({ inputs: { a, b, bias, residual }, attributes: { transposeB, activation, scale }, capabilities }) {
    const { rows, k, n, batches, oneB } = sizes(a, b, transposeB);
    return planGemm({
      shader: { name: "matmul", text: matmulWgsl },
      size: { rows, k, n, batches, taps: 1, rowsPerImage: rows, bBatchStride: oneB ? 0 : k * n },
      epilogue: { activation, scale, bias, residual },
      operands: { a: "a", b: "b", c: "y" },
      b,
      transposeB,
      capabilities,
    });
  },
  addend: ({ scale }) => (scale === 1 ? "residual" : undefined),
  cost({ a, b }, _outputs, { transposeB }) {
    const { rows, k, n, batches } = sizes(a, b, transposeB);
    return { flops: 2 * rows * k * n * batches };
  },
  gradient({ y: dy }, context) {
    const { g, inputs, attributes, wanted } = context;
    if (!dy) return {};
    const { a, b, bias } = inputs;
    const { dSum, dResidual } = epilogueGradient(
      dy,
      context,
      (activation) => g.apply(matmulKernel, { a, b, bias }, { ...attributes, activation, scale: 1 }).y,
    );
    return {
      a: wanted.a ? matmul(g, dSum, b, { transposeB: !attributes.transposeB }) : undefined,
      b: wanted.b ? rightGradient(g, a, b, dSum, attributes.transposeB) : undefined,
      bias: wanted.bias ? sumRows(g, dSum, bias!.type.shape) : undefined,
      residual: dResidual,
    };
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
  { g, attributes, wanted }: {
    readonly g: Recorder;
    readonly attributes: { readonly activation: FusedActivation; readonly scale: number };
    readonly wanted: { readonly residual: boolean };
  },
  sum: (activation: "none") => Value,
): { dSum: Value; dResidual: Value | undefined } {
  const { activation, scale } = attributes;
  const dScaled = scale === 1 ? dy : scaled(g, dy, scale);
  return {
    dSum: activation === "none" ? dScaled : activationGradient(g, dScaled, sum("none"), activation),
    dResidual: wanted.residual ? dScaled : undefined,
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
  return g.apply(matmulKernel, { a, b, bias, residual }, { transposeB, activation, scale }).y;
}

/** A linear layer: x [..., in] times weight [in, out] (stored transposed) plus bias [out]. */
export function linear(g: Recorder, x: Value, weight: Value, options: Omit<MatmulOptions, "transposeB"> = {}): Value {
  return x.type.shape.length === 1
    ? reshape(g, matmul(g, reshape(g, x, [1, x.type.shape[0]!]), weight, options), [weight.type.shape[1]!])
    : matmul(g, x, weight, options);
}
