import { type Dispatch, type Kernel, ShapeError, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { type GroupNormAttributes, applyChunk, chunkCount, columnDispatch, groupDispatch, needGroupNorm, reductionChunk } from "./group-norm-plan.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";
import applyWgsl from "../shaders/group-norm-gradient.wgsl";
import partialsWgsl from "../shaders/group-norm-gradient-partials.wgsl";
import sumsWgsl from "../shaders/group-norm-gradient-sums.wgsl";

/** Inputs: dy, x, gamma, beta and the statistics [batch, groups, 2] of the forward pass; gives dx. SiLU's derivative is recomputed from x. */
export const groupNormGradientKernel: Kernel<GroupNormAttributes> = {
  name: "group-norm-gradient",
  infer(inputs, { groups }) {
    const op = "group-norm-gradient";
    const dy = need(op, inputs, 0, "dy");
    const { batch } = needGroupNorm(op, inputs, 1, groups);
    const statistics = need(op, inputs, 4, "statistics", 3);
    if (!sameShape(dy.shape, inputs[1]!.shape)) throw new ShapeError(op, `dy ${formatType(dy)} and x ${formatType(inputs[1])} must have one shape`);
    if (!sameShape(statistics.shape, [batch, groups, 2])) throw new ShapeError(op, `statistics must be [${batch},${groups},2], got ${formatType(statistics)}`);
    return [inputs[1]!];
  },
  plan({ inputs, attributes, capabilities }) {
    const { silu } = attributes;
    const layout = needGroupNorm("group-norm-gradient", inputs, 1, attributes.groups);
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
      dispatches.push(groupDispatch(sums, layout, layout.positions, capabilities, defines, { dy: { input: 0 }, x: { input: 1 }, gamma, ...beta, statistics, moments }, {}));
    } else {
      const chunks = chunkCount(layout, perChunk);
      const partials = { sums: { scratch: 1 }, sumsH: { scratch: 2 } };
      const bindings = { dy: { input: 0 }, x: { input: 1 }, ...(silu && { gamma }), ...beta, statistics, ...partials };
      dispatches.push(columnDispatch({ name: "group-norm-gradient-partials", text: partialsWgsl }, layout, perChunk, silu, bindings, true));
      dispatches.push(groupDispatch(sums, layout, chunks, capabilities, { ...defines, SILU: false }, { ...partials, gamma, statistics, moments }, {}));
      const bytes = layout.batch * chunks * layout.channels * 4;
      scratch.push(bytes, bytes);
    }
    const bindings = { dy: { input: 0 }, x: { input: 1 }, gamma, ...beta, statistics: moments, dx: { output: 0 } };
    dispatches.push(columnDispatch({ name: "group-norm-gradient", text: applyWgsl }, layout, applyChunk(capabilities), silu, bindings, true));
    return { dispatches, scratch };
  },
  cost: ([dy], _outputs, { silu }) => ({ flops: elementCount(dy!.shape) * (silu ? 50 : 16) }),
};
