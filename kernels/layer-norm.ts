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
import { normParameterGradients } from "./norm-parameters.ts";
import { packCount, packDefines, planRows } from "./rows.ts";
import layerNormWgsl from "../shaders/layer-norm.wgsl";
import layerNormGradientWgsl from "../shaders/layer-norm-gradient.wgsl";

function needRow(op: string, inputs: readonly (TensorType | undefined)[], index: number, name: string, x: TensorType): void {
  const row = need(op, inputs, index, name);
  const width = x.shape.at(-1);
  if (width === undefined || !sameShape(row.shape, [width])) {
    throw new ShapeError(op, `${name} must be [${width}], the last dimension of x ${formatType(x)}, got ${formatType(row)}`);
  }
}

/** Outputs: y, and the mean and 1 / sqrt(variance + epsilon) of each row, [rows, 2], which the gradient reads. */
export const layerNormKernel: Kernel<{ epsilon: number }> = {
  name: "layer-norm",
  infer(inputs, { epsilon }) {
    const x = need("layer-norm", inputs, 0, "x");
    needRow("layer-norm", inputs, 1, "gamma", x);
    needRow("layer-norm", inputs, 2, "beta", x);
    if (!(epsilon >= 0)) throw new ShapeError("layer-norm", `epsilon must be 0 or more, got ${epsilon}`);
    return [x, f32([elementCount(x.shape.slice(0, -1)), 2])];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const width = inputs[0]!.shape.at(-1)!;
    const rows = outputs[1]!.shape[0]!;
    const { defines, workgroups } = planRows(capabilities, rows, width);
    return {
      dispatches: [
        {
          shader: { name: "layer-norm", text: layerNormWgsl },
          defines: { ...defines, ...packDefines(width) },
          bindings: { x: { input: 0 }, gamma: { input: 1 }, beta: { input: 2 }, y: { output: 0 }, statistics: { output: 1 } },
          params: { rows, width: packCount(width), epsilon: attributes.epsilon },
          workgroups,
        },
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) * 10 }),
  gradient([dy], { g, inputs, outputs, attributes, wanted }) {
    if (!dy) return [];
    const dx = wanted[0] ? g.apply(layerNormGradientKernel, [dy, inputs[0]!, inputs[1]!, outputs[1]!], {})[0] : undefined;
    return [
      dx,
      ...normParameterGradients(g, dy, { gamma: wanted[1]!, beta: wanted[2]! }, (gamma, beta) =>
        layerNorm(g, inputs[0]!, gamma, beta, attributes),
      ),
    ];
  },
};

/** Place of a tensor of dx's shape to add to it. */
const RESIDUAL = 4;

/** Inputs: dy, x, gamma, the statistics [rows, 2] of the forward pass, a residual; gives dx, plus the residual. */
export const layerNormGradientKernel: Kernel<Record<string, never>> = {
  name: "layer-norm-gradient",
  infer(inputs) {
    const dy = need("layer-norm-gradient", inputs, 0, "dy");
    const x = need("layer-norm-gradient", inputs, 1, "x");
    needRow("layer-norm-gradient", inputs, 2, "gamma", x);
    need("layer-norm-gradient", inputs, 3, "statistics", 2);
    if (!sameShape(dy.shape, x.shape)) {
      throw new ShapeError("layer-norm-gradient", `dy ${formatType(dy)} and x ${formatType(x)} must have one shape`);
    }
    const residual = inputs[RESIDUAL];
    if (residual && !sameShape(residual.shape, x.shape)) {
      throw new ShapeError("layer-norm-gradient", `the residual ${formatType(residual)} must have the shape of x ${formatType(x)}`);
    }
    return [x];
  },
  addend: () => RESIDUAL,
  plan({ inputs, capabilities }) {
    const width = inputs[1]!.shape.at(-1)!;
    const rows = inputs[3]!.shape[0]!;
    const { defines, workgroups } = planRows(capabilities, rows, width);
    return {
      dispatches: [
        {
          shader: { name: "layer-norm-gradient", text: layerNormGradientWgsl },
          defines: { ...defines, ...packDefines(width) },
          bindings: {
            dy: { input: 0 },
            x: { input: 1 },
            gamma: { input: 2 },
            statistics: { input: 3 },
            residual: inputs[RESIDUAL] ? { input: RESIDUAL } : "nothing",
            dx: { output: 0 },
          },
          params: { rows, width: packCount(width), hasResidual: Number(inputs[RESIDUAL] !== undefined) },
          workgroups,
        },
      ],
    };
  },
  cost: ([dy]) => ({ flops: elementCount(dy!.shape) * 13 }),
};

/**
 * (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last dimension, biased variance; x f32 [.., C], gamma and beta [C]
 * (Ba et al., arXiv 1607.06450). @throws ShapeError if gamma or beta does not have x's last dimension.
 */
export function layerNorm(g: Recorder, x: Value, gamma: Value, beta: Value, options: { readonly epsilon: number }): Value {
  return g.apply(layerNormKernel, [x, gamma, beta], { epsilon: options.epsilon })[0]!;
}
