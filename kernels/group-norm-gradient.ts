import { type Binding, type Dispatch, type Kernel, ShapeError, elementCount, formatType, need, sameShape } from "./kernel.ts";
import {
  type GroupNormAttributes,
  applyChunk,
  chunkCount,
  columnDispatch,
  groupDispatch,
  needGroupNorm,
  reductionChunk,
} from "./group-norm-plan.ts";
import { wholeGroupNormGradient } from "./group-norm-whole.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";
import applyWgsl from "../shaders/group-norm-gradient.wgsl";
import partialsWgsl from "../shaders/group-norm-gradient-partials.wgsl";
import sumsWgsl from "../shaders/group-norm-gradient-sums.wgsl";

/** Place of a tensor of dx's shape to add to it. */
const RESIDUAL = 5;

/**
 * Inputs: dy, x, gamma, beta, the statistics [batch, groups, 2] of the forward pass, a residual; gives dx, plus the residual. SiLU's
 * derivative is recomputed from x.
 */
export const groupNormGradientKernel: Kernel<GroupNormAttributes> = {
  name: "group-norm-gradient",
  infer(inputs, { groups }) {
    const op = "group-norm-gradient";
    const dy = need(op, inputs, 0, "dy");
    const { batch } = needGroupNorm(op, inputs, 1, groups);
    const statistics = need(op, inputs, 4, "statistics", 3);
    if (!sameShape(dy.shape, inputs[1]!.shape)) {
      throw new ShapeError(op, `dy ${formatType(dy)} and x ${formatType(inputs[1])} must have one shape`);
    }
    if (!sameShape(statistics.shape, [batch, groups, 2])) {
      throw new ShapeError(op, `statistics must be [${batch},${groups},2], got ${formatType(statistics)}`);
    }
    const residual = inputs[RESIDUAL];
    if (residual && !sameShape(residual.shape, dy.shape)) {
      throw new ShapeError(op, `the residual ${formatType(residual)} must have the shape of x ${formatType(inputs[1])}`);
    }
    return [inputs[1]!];
  },
  addend: () => RESIDUAL,
  plan({ inputs, attributes, capabilities }) {
    const { silu } = attributes;
    const layout = needGroupNorm("group-norm-gradient", inputs, 1, attributes.groups);
    const hasResidual = inputs[RESIDUAL] !== undefined;
    const whole = wholeGroupNormGradient(layout, silu, hasResidual, capabilities);
    if (whole) return { dispatches: [whole] };
    const perChunk = reductionChunk(layout, capabilities);
    const dispatches: Dispatch[] = [];
    const scratch = [layout.batch * layout.groups * 16];
    const moments = { scratch: 0 };
    const sums = { name: "group-norm-gradient-sums", text: sumsWgsl };
    const defines = { ...ACTIVATION_DEFINES, SILU: silu, PARTIALS: perChunk !== undefined };
    const gamma = { input: 2 };
    const beta = silu && { beta: { input: 3 } };
    const statistics = { input: 4 };
    if (perChunk === undefined) {
      dispatches.push(
        groupDispatch(
          sums,
          layout,
          layout.positions,
          capabilities,
          defines,
          { dy: { input: 0 }, x: { input: 1 }, gamma, ...beta, statistics, moments },
          {},
        ),
      );
    } else {
      const chunks = chunkCount(layout, perChunk);
      const partials = { sums: { scratch: 1 }, sumsH: { scratch: 2 } };
      const bindings = { dy: { input: 0 }, x: { input: 1 }, ...(silu && { gamma }), ...beta, statistics, ...partials };
      dispatches.push(columnDispatch({ name: "group-norm-gradient-partials", text: partialsWgsl }, layout, perChunk, silu, bindings, true));
      dispatches.push(
        groupDispatch(sums, layout, chunks, capabilities, { ...defines, SILU: false }, { ...partials, gamma, statistics, moments }, {}),
      );
      const bytes = layout.batch * chunks * layout.channels * 4;
      scratch.push(bytes, bytes);
    }
    const residual: Binding = hasResidual ? { input: RESIDUAL } : "nothing";
    const bindings = { dy: { input: 0 }, x: { input: 1 }, gamma, ...beta, statistics: moments, residual, dx: { output: 0 } };
    const apply = columnDispatch({ name: "group-norm-gradient", text: applyWgsl }, layout, applyChunk(capabilities), silu, bindings, true);
    dispatches.push({ ...apply, params: { ...apply.params, hasResidual: Number(hasResidual) } });
    return { dispatches, scratch };
  },
  cost: ([dy], _outputs, { silu }) => ({ flops: elementCount(dy!.shape) * (silu ? 50 : 16) }),
};
