import {
  type Binding,
  type Capabilities,
  type Dispatch,
  type Kernel,
  type Plan,
  type Recorder,
  ShapeError,
  type Value,
  elementCount,
  f32,
} from "./kernel.ts";
import { activationGradient } from "./activation.ts";
import { normParameterGradients } from "./norm-parameters.ts";
import {
  type GroupNormAttributes,
  type GroupNormLayout,
  applyChunk,
  chunkCount,
  columnDispatch,
  groupDispatch,
  needGroupNorm,
  reductionChunk,
} from "./group-norm-plan.ts";
import { groupNormGradientKernel } from "./group-norm-gradient.ts";
import { wholeGroupNorm } from "./group-norm-whole.ts";
import applyWgsl from "../shaders/group-norm.wgsl";
import partialsWgsl from "../shaders/group-norm-partials.wgsl";
import statisticsWgsl from "../shaders/group-norm-statistics.wgsl";

/** The dispatches that write the mean and 1 / sqrt(variance + epsilon) of each group of input 0 to `statistics`. */
export function statisticsPlan(layout: GroupNormLayout, epsilon: number, capabilities: Capabilities, statistics: Binding): Required<Plan> {
  const perChunk = reductionChunk(layout, capabilities);
  const shader = { name: "group-norm-statistics", text: statisticsWgsl };
  if (perChunk === undefined) {
    return {
      dispatches: [
        groupDispatch(
          shader,
          layout,
          layout.positions,
          capabilities,
          { PARTIALS: false },
          { x: { input: 0 }, statistics },
          { perChunk: 1, epsilon },
        ),
      ],
      scratch: [],
    };
  }
  const chunks = chunkCount(layout, perChunk);
  const partials = { means: { scratch: 0 }, squares: { scratch: 1 } };
  const bytes = layout.batch * chunks * layout.channels * 4;
  return {
    dispatches: [
      columnDispatch({ name: "group-norm-partials", text: partialsWgsl }, layout, perChunk, false, { x: { input: 0 }, ...partials }, false),
      groupDispatch(shader, layout, chunks, capabilities, { PARTIALS: true }, { ...partials, statistics }, { perChunk, epsilon }),
    ],
    scratch: [bytes, bytes],
  };
}

/** The dispatch that normalises input 0 with `statistics`, gamma (input 1) and beta (input 2). */
export function applyDispatch(layout: GroupNormLayout, silu: boolean, capabilities: Capabilities, statistics: Binding): Dispatch {
  const bindings = { x: { input: 0 }, gamma: { input: 1 }, beta: { input: 2 }, statistics, y: { output: 0 } };
  return columnDispatch({ name: "group-norm", text: applyWgsl }, layout, applyChunk(capabilities), silu, bindings, true);
}

/**
 * Inputs x, gamma, beta. Outputs: y, and the mean and 1 / sqrt(variance + epsilon) of each batch entry's groups, [batch, groups, 2], which
 * the gradient reads.
 */
export const groupNormKernel: Kernel<GroupNormAttributes> = {
  name: "group-norm",
  infer(inputs, { groups, epsilon }) {
    const layout = needGroupNorm("group-norm", inputs, 0, groups);
    if (!(epsilon >= 0)) throw new ShapeError("group-norm", `epsilon must be 0 or more, got ${epsilon}`);
    return [inputs[0]!, f32([layout.batch, groups, 2])];
  },
  plan({ inputs, attributes, capabilities }) {
    const layout = needGroupNorm("group-norm", inputs, 0, attributes.groups);
    const whole = wholeGroupNorm(layout, attributes.silu, attributes.epsilon, capabilities);
    if (whole) return { dispatches: [whole] };
    const { dispatches, scratch } = statisticsPlan(layout, attributes.epsilon, capabilities, { output: 1 });
    return { dispatches: [...dispatches, applyDispatch(layout, attributes.silu, capabilities, { output: 1 })], scratch };
  },
  cost: ([x], _outputs, { silu }) => ({ flops: elementCount(x!.shape) * (silu ? 20 : 8) }),
  gradient([dy], { g, inputs, outputs, attributes, wanted }) {
    if (!dy) return [];
    const [x, gamma, beta] = inputs as readonly [Value, Value, Value];
    const dx = wanted[0] ? g.apply(groupNormGradientKernel, [dy, x, gamma, beta, outputs[1]!], attributes)[0] : undefined;
    if (!wanted[1] && !wanted[2]) return [dx];
    const normalize = (scale: Value, shift: Value): Value => groupNorm(g, x, scale, shift, { ...attributes, silu: false });
    const dNormalized = attributes.silu ? activationGradient(g, dy, normalize(gamma, beta), "silu") : dy;
    return [dx, ...normParameterGradients(g, dNormalized, { gamma: wanted[1]!, beta: wanted[2]! }, normalize)];
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
  return g.apply(groupNormKernel, [x, gamma, beta], { groups, epsilon, silu })[0]!;
}
