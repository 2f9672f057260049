import { concat } from "./concat.ts";
import { applyDispatch, statisticsPlan } from "./group-norm.ts";
import { type GroupNormAttributes, groupNormLayout, needStatistics } from "./group-norm-plan.ts";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType, sameShape } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";
import { reshape } from "./reshape.ts";
import mergeWgsl from "../shaders/group-norm-merge.wgsl";

type Inputs = "x" | "gamma" | "beta";

/** Mean and 1 / sqrt(variance + epsilon) of each group, [batch, groups, 2]; gamma and beta are there for their shapes. */
export const groupNormStatisticsKernel: Kernel<GroupNormAttributes, Inputs, "statistics"> = {
  name: "group-norm-statistics",
  inputs: { x: {}, gamma: {}, beta: {} },
  outputs: ["statistics"],
  infer: (inputs, { groups }) => ({ statistics: f32([groupNormLayout(inputs, groups).batch, groups, 2]) }),
  plan: ({ inputs, attributes: { groups, epsilon }, capabilities }) =>
    statisticsPlan(groupNormLayout(inputs, groups), epsilon, capabilities),
  cost: ({ x }) => ({ flops: elementCount(x.shape) * 3 }),
};

/** Statistics of parts stacked to [parts, batch, groups, 2]; `count` positions each, the last one `last`. Gives those of the whole. */
export const groupNormMergeKernel: Kernel<{ epsilon: number; count: number; last: number }, "parts", "statistics"> = {
  name: "group-norm-merge",
  inputs: { parts: { rank: 4 } },
  outputs: ["statistics"],
  infer: ({ parts }) => ({ statistics: f32(parts.shape.slice(1)) }),
  plan({ inputs: { parts }, outputs: { statistics }, attributes: { epsilon, count, last } }) {
    const rows = elementCount(statistics.shape) / 2;
    const params = { count: rows, parts: parts.shape[0]!, positions: count, last, epsilon };
    return { dispatches: [pointwise({ name: "group-norm-merge", text: mergeWgsl }, params)] };
  },
  cost: ({ parts }) => ({ flops: elementCount(parts.shape) * 8 }),
};

/** x normalised with given statistics [batch, groups, 2]. */
export const groupNormApplyKernel: Kernel<GroupNormAttributes, Inputs | "statistics"> = {
  name: "group-norm-apply",
  inputs: { x: {}, gamma: {}, beta: {}, statistics: { rank: 3 } },
  infer({ statistics, ...inputs }, { groups }) {
    needStatistics(statistics, groupNormLayout(inputs, groups));
    return { y: inputs.x };
  },
  plan: ({ inputs, attributes: { groups, silu }, capabilities }) => ({
    dispatches: [applyDispatch(groupNormLayout(inputs, groups), silu, capabilities)],
  }),
  cost: ({ x }, _outputs, { silu }) => ({ flops: elementCount(x.shape) * (silu ? 17 : 5) }),
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
    const ofPart = g.apply(groupNormStatisticsKernel, { x: part, gamma, beta }, attributes).statistics;
    const row = reshape(g, ofPart, [1, ...ofPart.type.shape]);
    stacked = stacked ? concat(g, stacked, row, 0) : row;
  }
  const counts = { epsilon: options.epsilon, count: positions(first), last: positions(parts.at(-1)!) };
  const { statistics } = g.apply(groupNormMergeKernel, { parts: stacked! }, counts);
  return parts.map((x) => g.apply(groupNormApplyKernel, { x, gamma, beta, statistics }, attributes).y);
}
