import {
  type Capabilities, type Dispatch, type Kernel, type Plan, type Recorder, ShapeError, type Value, elementCount, f32,
} from "./kernel.ts";
import { activationGradient } from "./activation.ts";
import { normParameterGradients } from "./norm-parameters.ts";
import {
  type GroupNormAttributes, type GroupNormLayout, applyChunk, chunkCount, columnDispatch, groupDispatch, groupNormLayout, reductionChunk,
} from "./group-norm-plan.ts";
import { groupNormGradientKernel } from "./group-norm-gradient.ts";
import { wholeGroupNorm } from "./group-norm-whole.ts";
import applyWgsl from "../shaders/group-norm.wgsl";
import partialsWgsl from "../shaders/group-norm-partials.wgsl";
import statisticsWgsl from "../shaders/group-norm-statistics.wgsl";

/** The dispatches that write the mean and 1 / sqrt(variance + epsilon) of each group of x to `statistics`. */
export function statisticsPlan(layout: GroupNormLayout, epsilon: number, capabilities: Capabilities): Required<Plan> {
  const perChunk = reductionChunk(layout, capabilities);
  const shader = { name: "group-norm-statistics", text: statisticsWgsl };
  if (perChunk === undefined) {
    const params = { perChunk: 1, epsilon };
    return { dispatches: [groupDispatch(shader, layout, layout.positions, capabilities, { PARTIALS: false }, {}, params)], scratch: [] };
  }
  const chunks = chunkCount(layout, perChunk);
  const partials = { means: { scratch: 0 }, squares: { scratch: 1 } };
  const bytes = layout.batch * chunks * layout.channels * 4;
  return {
    dispatches: [
      columnDispatch({ name: "group-norm-partials", text: partialsWgsl }, layout, perChunk, undefined, partials),
      groupDispatch(shader, layout, chunks, capabilities, { PARTIALS: true }, partials, { perChunk, epsilon }),
    ],
    scratch: [bytes, bytes],
  };
}

/** The dispatch that normalises x with `statistics`, gamma and beta. */
export function applyDispatch(layout: GroupNormLayout, silu: boolean, capabilities: Capabilities): Dispatch {
  return columnDispatch({ name: "group-norm", text: applyWgsl }, layout, applyChunk(capabilities), { silu });
}

/** `statistics` [batch, groups, 2]: the mean and 1 / sqrt(variance + epsilon) of each batch entry's groups, which the gradient reads. */
export const groupNormKernel: Kernel<GroupNormAttributes, "x" | "gamma" | "beta", "y" | "statistics"> = {
  name: "group-norm",
  inputs: { x: {}, gamma: {}, beta: {} },
  outputs: ["y", "statistics"],
  infer(inputs, { groups, epsilon }) {
    const layout = groupNormLayout(inputs, groups);
    if (!(epsilon >= 0)) throw new ShapeError(`epsilon must be 0 or more, got ${epsilon}`);
    return { y: inputs.x, statistics: f32([layout.batch, groups, 2]) };
  },
  plan({ inputs, attributes: { groups, epsilon, silu }, capabilities }) {
    const layout = groupNormLayout(inputs, groups);
    const whole = wholeGroupNorm(layout, silu, epsilon, capabilities);
    if (whole) return { dispatches: [whole] };
    const { dispatches, scratch } = statisticsPlan(layout, epsilon, capabilities);
    return { dispatches: [...dispatches, applyDispatch(layout, silu, capabilities)], scratch };
  },
  cost: ({ x }, _outputs, { silu }) => ({ flops: elementCount(x.shape) * (silu ? 20 : 8) }),
  gradient({ y: dy }, { g, inputs: { x, gamma, beta }, outputs: { statistics }, attributes, wanted }) {
    if (!dy) return {};
    const dx = wanted.x ? g.apply(groupNormGradientKernel, { dy, x, gamma, beta, statistics }, attributes).dx : undefined;
    if (!wanted.gamma && !wanted.beta) return { x: dx };
    const normalize = (scale: Value, shift: Value): Value => groupNorm(g, x, scale, shift, { ...attributes, silu: false });
    const dNormalized = attributes.silu ? activationGradient(g, dy, normalize(gamma, beta), "silu") : dy;
    return { x: dx, ...normParameterGradients(g, dNormalized, wanted, normalize) };
  },
};

/**
 * Group norm over channels-last x: (x - mean) / sqrt(variance + epsilon) * gamma + beta, mean and biased variance over all positions and
 * the channels of a group, then SiLU if asked for (Wu and He, arXiv 1803.08494).
 * x f32 [batch, .., channels]; gamma, beta [channels]. @throws ShapeError if the groups do not divide the channels or a shape does not fit.
 */
export function groupNorm(
  g: Recorder,
  x: Value,
  gamma: Value,
  beta: Value,
  options: { readonly groups: number; readonly epsilon: number; readonly silu?: boolean },
): Value {
  const { groups, epsilon, silu = false } = options;
  return g.apply(groupNormKernel, { x, gamma, beta }, { groups, epsilon, silu }).y;
}
