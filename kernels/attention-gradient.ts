import deltaWgsl from "../shaders/attention-gradient-delta.wgsl";
import {
  type AttentionAttributes, HeadPadding, type PassOutput, QKV_RULE, attentionSizes, attentionTakesColumns, flashParams, rowPlace,
} from "./attention-plan.ts";
import { flashPass } from "./attention-form.ts";
import { type Binding, type Dispatch, type Kernel, ShapeError, columnsOf, elementCount, f32, formatType, sameShape } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

export type AttentionGradientAttributes = AttentionAttributes & {
  /** Compute dq. */
  readonly query: boolean;
  /** Compute dk and dv. */
  readonly keyValue: boolean;
};

/**
 * The cotangents of attention's inputs, from q, k, v, o and logSumExp as attention took and gave them, and dO of o's shape:
 * dQ [B, Tq, C] if `query`, dK and dV [B, Tk, C] if `keyValue`. Scores are computed again, never stored, and nothing is summed across
 * workgroups: dQ takes a pass over the keys, dK and dV one over the queries (FlashAttention-2, arXiv 2307.08691).
 */
export const attentionGradientKernel: Kernel<
  AttentionGradientAttributes,
  "q" | "k" | "v" | "o" | "logSumExp" | "dO",
  "dQ" | "dK" | "dV"
> = {
  name: "attention-gradient",
  inputs: { q: QKV_RULE, k: QKV_RULE, v: QKV_RULE, o: { rank: 3 }, logSumExp: { rank: 3 }, dO: { rank: 3 } },
  outputs: ({ query, keyValue }) => [...(query ? (["dQ"] as const) : []), ...(keyValue ? (["dK", "dV"] as const) : [])],
  writesColumns: ({ q }, { heads }) => attentionTakesColumns(q.shape[2]! / heads),
  infer(inputs, { heads }) {
    const { batch, queries } = attentionSizes(inputs, heads);
    const { q, k, v, logSumExp } = inputs;
    for (const name of ["o", "dO"] as const) {
      if (!sameShape(inputs[name].shape, q.shape)) {
        throw new ShapeError(`${name} ${formatType(inputs[name])} must have the shape of q ${formatType(q)}`);
      }
    }
    if (!sameShape(logSumExp.shape, [batch, heads, queries])) {
      throw new ShapeError(`logSumExp must be [${batch},${heads},${queries}], got ${formatType(logSumExp)}`);
    }
    return { dQ: f32(q.shape), dK: f32(k.shape), dV: f32(v.shape) };
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const sizes = attentionSizes(inputs, attributes.heads);
    const { batch, heads, queries, keys, head } = sizes;
    const padding = new HeadPadding(head);
    const { headVec4, scratch } = padding;
    const read = (name: "q" | "k" | "v" | "o" | "dO"): Binding => padding.input(inputs[name], { input: name });
    const [q, k, v, o, dO] = [read("q"), read("k"), read("v"), read("o"), read("dO")];
    const output = (name: "dQ" | "dK" | "dV"): PassOutput => ({
      name,
      binding: padding.output(outputs[name], { output: name }),
      place: rowPlace(outputs[name], heads, headVec4),
    });
    const queryOutputs = attributes.query ? [output("dQ")] : [];
    const keyValueOutputs = attributes.keyValue ? [output("dK"), output("dV")] : [];
    const rows = batch * heads * queries;
    const products = rows * keys * head;
    const delta: Binding = { scratch: scratch.push(Math.ceil(rows / 4) * 16) - 1 };
    const shared = {
      sizes,
      headVec4,
      bindings: { q, k, v, dO, logSumExp: { input: "logSumExp" }, delta },
      params: flashParams(sizes, headVec4, attributes, inputs),
      scratch,
    };
    const main: Dispatch[] = [
      pointwise(
        { name: "attention-gradient-delta", text: deltaWgsl },
        { count: rows, heads, queries, headVec4, rowStride: heads * headVec4 },
        { bindings: { o, dO, delta } },
      ),
    ];
    if (attributes.query) main.push(...flashPass({ ...shared, name: "query", flops: 6 * products, outputs: queryOutputs }, capabilities));
    if (attributes.keyValue) {
      const [kPlace, vPlace] = [columnsOf(outputs.dK), columnsOf(outputs.dV)];
      const joint = kPlace !== undefined && kPlace.of === vPlace?.of;
      main.push(...flashPass({ ...shared, name: "key-value", flops: 8 * products, outputs: keyValueOutputs, joint }, capabilities));
    }
    return { dispatches: [...padding.before, ...main, ...padding.after], scratch };
  },
  cost(inputs, _outputs, { heads, causal, query, keyValue }) {
    const { batch, queries, keys, head } = attentionSizes(inputs, heads);
    const pairs = batch * heads * queries * keys * (causal ? 0.5 : 1);
    return { flops: pairs * head * ((query ? 6 : 0) + (keyValue ? 8 : 0)) + 2 * elementCount(inputs.o.shape) };
  },
};
