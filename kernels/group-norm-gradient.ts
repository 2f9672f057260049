import { type Dispatch, type Kernel, ShapeError, elementCount, formatType, sameShape } from "./kernel.ts";
import {
  type GroupNormAttributes, applyChunk, chunkCount, columnDispatch, groupDispatch, groupNormLayout, needStatistics, reductionChunk,
} from "./group-norm-plan.ts";
import { wholeGroupNormGradient } from "./group-norm-whole.ts";
import { needResidual } from "./matmul.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";
import applyWgsl from "../shaders/group-norm-gradient.wgsl";
import partialsWgsl from "../shaders/group-norm-gradient-partials.wgsl";
import sumsWgsl from "../shaders/group-norm-gradient-sums.wgsl";

/**
 * From dy, x, gamma, beta and the statistics [batch, groups, 2] of the forward pass dx, plus the residual. SiLU's derivative is recomputed
 * from x.
 */
export const groupNormGradientKernel: Kernel<GroupNormAttributes, "dy" | "x" | "gamma" | "beta" | "statistics", "dx", "residual"> = {
  name: "group-norm-gradient",
  inputs: { dy: {}, x: {}, gamma: {}, beta: {}, statistics: { rank: 3 }, residual: { optional: true } },
  outputs: ["dx"],
  infer({ dy, statistics, residual, ...inputs }, { groups }) {
    needStatistics(statistics, groupNormLayout(inputs, groups));
    if (!sameShape(dy.shape, inputs.x.shape)) {
      throw new ShapeError(`dy ${formatType(dy)} and x ${formatType(inputs.x)} must have one shape`);
    }
    needResidual(residual, dy.shape);
    return { dx: inputs.x };
  },
  addend: () => "residual",
  plan({ inputs, attributes: { groups, silu }, capabilities }) {
    const layout = groupNormLayout(inputs, groups);
    const hasResidual = inputs.residual !== undefined;
    const whole = wholeGroupNormGradient(layout, silu, hasResidual, capabilities);
    if (whole) return { dispatches: [whole] };
    const perChunk = reductionChunk(layout, capabilities);
    const dispatches: Dispatch[] = [];
    const scratch = [layout.batch * layout.groups * 16];
    const moments = { scratch: 0 };
    const sums = { name: "group-norm-gradient-sums", text: sumsWgsl };
    const defines = { ...ACTIVATION_DEFINES, SILU: silu, PARTIALS: perChunk !== undefined };
    if (perChunk === undefined) {
      dispatches.push(groupDispatch(sums, layout, layout.positions, capabilities, defines, { moments }));
    } else {
      const chunks = chunkCount(layout, perChunk);
      const partials = { sums: { scratch: 1 }, sumsH: { scratch: 2 } };
      dispatches.push(columnDispatch({ name: "group-norm-gradient-partials", text: partialsWgsl }, layout, perChunk, { silu }, partials));
      dispatches.push(groupDispatch(sums, layout, chunks, capabilities, { ...defines, SILU: false }, { ...partials, moments }));
      const bytes = layout.batch * chunks * layout.channels * 4;
      scratch.push(bytes, bytes);
    }
    const shader = { name: "group-norm-gradient", text: applyWgsl };
    const apply = columnDispatch(shader, layout, applyChunk(capabilities), { silu, moments: true }, { statistics: moments });
    dispatches.push({ ...apply, params: { ...apply.params, hasResidual: Number(hasResidual) } });
    return { dispatches, scratch };
  },
  cost: ({ dy }, _outputs, { silu }) => ({ flops: elementCount(dy.shape) * (silu ? 50 : 16) }),
};
