import {
  type Kernel, type NoAttributes, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { needResidual } from "./matmul.ts";
import { normParameterGradients } from "./norm-parameters.ts";
import { rowDispatch } from "./rows.ts";
import layerNormWgsl from "../shaders/layer-norm.wgsl";
import layerNormGradientWgsl from "../shaders/layer-norm-gradient.wgsl";

function needRow(name: string, row: TensorType, x: TensorType): void {
  const width = x.shape.at(-1);
  if (width === undefined || !sameShape(row.shape, [width])) {
    throw new ShapeError(`${name} must be [${width}], the last dimension of x ${formatType(x)}, got ${formatType(row)}`);
  }
}

/** `statistics` [rows, 2]: the mean and 1 / sqrt(variance + epsilon) of each row, which the gradient reads. */
export const layerNormKernel: Kernel<{ epsilon: number }, "x" | "gamma" | "beta", "y" | "statistics"> = {
  name: "layer-norm",
  inputs: { x: {}, gamma: {}, beta: {} },
  outputs: ["y", "statistics"],
  infer({ x, gamma, beta }, { epsilon }) {
    needRow("gamma", gamma, x);
    needRow("beta", beta, x);
    if (!(epsilon >= 0)) throw new ShapeError(`epsilon must be 0 or more, got ${epsilon}`);
    return { y: x, statistics: f32([elementCount(x.shape.slice(0, -1)), 2]) };
  },
  plan: ({ inputs: { x }, attributes: { epsilon }, capabilities }) => ({
    dispatches: [rowDispatch({ name: "layer-norm", text: layerNormWgsl }, x, capabilities, { epsilon })],
  }),
  cost: ({ x }) => ({ flops: elementCount(x.shape) * 10 }),
  gradient({ y: dy }, { g, inputs: { x, gamma }, outputs: { statistics }, attributes, wanted }) {
    if (!dy) return {};
    const dx = wanted.x ? g.apply(layerNormGradientKernel, { dy, x, gamma, statistics }, {}).dx : undefined;
    return { x: dx, ...normParameterGradients(g, dy, wanted, (scale, shift) => layerNorm(g, x, scale, shift, attributes)) };
  },
};

/** From dy, x, gamma and the statistics [rows, 2] of the forward pass dx, plus the residual. */
export const layerNormGradientKernel: Kernel<NoAttributes, "dy" | "x" | "gamma" | "statistics", "dx", "residual"> = {
  name: "layer-norm-gradient",
  inputs: { dy: {}, x: {}, gamma: {}, statistics: { rank: 2 }, residual: { optional: true } },
  outputs: ["dx"],
  infer({ dy, x, gamma, residual }) {
    needRow("gamma", gamma, x);
    if (!sameShape(dy.shape, x.shape)) throw new ShapeError(`dy ${formatType(dy)} and x ${formatType(x)} must have one shape`);
    needResidual(residual, x.shape);
    return { dx: x };
  },
  addend: () => "residual",
  plan({ inputs: { x, residual }, capabilities }) {
    const shader = { name: "layer-norm-gradient", text: layerNormGradientWgsl };
    return { dispatches: [rowDispatch(shader, x, capabilities, { hasResidual: Number(residual !== undefined) })] };
  },
  cost: ({ dy }) => ({ flops: elementCount(dy.shape) * 13 }),
};

/**
 * (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last dimension, biased variance; x f32 [.., C], gamma and beta [C]
 * (Ba et al., arXiv 1607.06450). @throws ShapeError if gamma or beta does not have x's last dimension.
 */
export function layerNorm(g: Recorder, x: Value, gamma: Value, beta: Value, options: { readonly epsilon: number }): Value {
  return g.apply(layerNormKernel, { x, gamma, beta }, { epsilon: options.epsilon }).y;
}
