import { concat } from "./concat.ts";
import { applyDispatch, statisticsPlan } from "./group-norm.ts";
import { type GroupNormAttributes, needGroupNorm } from "./group-norm-plan.ts";
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
import { reshape } from "./reshape.ts";
import mergeWgsl from "../shaders/group-norm-merge.wgsl";

/** Inputs x, gamma, beta (for their shapes); output: mean and 1 / sqrt(variance + epsilon) of each group, [batch, groups, 2]. */
export const groupNormStatisticsKernel: Kernel<GroupNormAttributes> = {
  name: "group-norm-statistics",
  infer: (inputs, { groups }) => [f32([needGroupNorm("group-norm-statistics", inputs, 0, groups).batch, groups, 2])],
  plan({ inputs, attributes, capabilities }) {
    return statisticsPlan(needGroupNorm("group-norm-statistics", inputs, 0, attributes.groups), attributes.epsilon, capabilities, {
      output: 0,
    });
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) * 3 }),
};

/** Statistics of parts stacked to [parts, batch, groups, 2]; `count` positions each, the last one `last`. Gives those of the whole. */
export const groupNormMergeKernel: Kernel<{ epsilon: number; count: number; last: number }> = {
  name: "group-norm-merge",
  infer(inputs) {
    return [f32(need("group-norm-merge", inputs, 0, "statistics", 4).shape.slice(1))];
  },
  plan({ inputs, outputs, attributes: { epsilon, count, last } }) {
    const rows = elementCount(outputs[0]!.shape) / 2;
    const params = { rows, parts: inputs[0]!.shape[0]!, count, last, epsilon };
    return {
      dispatches: [
        {
          shader: { name: "group-norm-merge", text: mergeWgsl },
          defines: {},
          bindings: { parts: { input: 0 }, statistics: { output: 0 } },
          params,
          workgroups: [Math.ceil(rows / 64), 1, 1],
        },
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) * 8 }),
};

/** Inputs x, gamma, beta and given statistics [batch, groups, 2]; output: x normalised with them. */
export const groupNormApplyKernel: Kernel<GroupNormAttributes> = {
  name: "group-norm-apply",
  infer(inputs, { groups }) {
    const layout = needGroupNorm("group-norm-apply", inputs, 0, groups);
    const statistics = need("group-norm-apply", inputs, 3, "statistics", 3);
    if (!sameShape(statistics.shape, [layout.batch, groups, 2])) {
      throw new ShapeError("group-norm-apply", `statistics must be [${layout.batch},${groups},2], got ${formatType(statistics)}`);
    }
    return [inputs[0] as TensorType];
  },
  plan({ inputs, attributes, capabilities }) {
    return {
      dispatches: [
        applyDispatch(needGroupNorm("group-norm-apply", inputs, 0, attributes.groups), attributes.silu, capabilities, { input: 3 }),
      ],
    };
  },
  cost: ([x], _outputs, { silu }) => ({ flops: elementCount(x!.shape) * (silu ? 17 : 5) }),
};

/**
 * Group norm of one picture held in parts, each [B, rows, W, C] with the same number of rows but the last: the statistics are those of the
 * whole.
 * For tensors larger than one binding; without a gradient. Options as `groupNorm`.
 * @throws ShapeError if parts other than the last differ in shape.
 */
export function groupNormParts(
  g: Recorder,
  parts: readonly Value[],
  gamma: Value,
  beta: Value,
  options: { readonly groups: number; readonly epsilon: number; readonly silu?: boolean },
): Value[] {
  const attributes = { groups: options.groups, epsilon: options.epsilon, silu: options.silu ?? false };
  const [first, ...rest] = parts as [Value, ...Value[]];
  if (rest.slice(0, -1).some((p) => !sameShape(p.type.shape, first.type.shape))) {
    throw new ShapeError(
      "group-norm-merge",
      `parts must have one shape but for the last: ${parts.map((p) => formatType(p.type)).join(", ")}`,
    );
  }
  const positions = (x: Value): number => elementCount(x.type.shape.slice(1, -1));
  let stacked: Value | undefined;
  for (const part of parts) {
    const statistics = g.apply(groupNormStatisticsKernel, [part, gamma, beta], attributes)[0]!;
    const row = reshape(g, statistics, [1, ...statistics.type.shape]);
    stacked = stacked ? concat(g, stacked, row, 0) : row;
  }
  const whole = g.apply(groupNormMergeKernel, [stacked], {
    epsilon: options.epsilon,
    count: positions(first),
    last: positions(parts.at(-1)!),
  })[0]!;
  return parts.map((part) => g.apply(groupNormApplyKernel, [part, gamma, beta, whole], attributes)[0]!);
}
