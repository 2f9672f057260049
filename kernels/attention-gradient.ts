import deltaWgsl from "../shaders/attention-gradient-delta.wgsl";
import keyValueWgsl from "../shaders/attention-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-gradient-query.wgsl";
import { type AttentionAttributes, HeadPadding, attentionSizes, attentionTakesColumns, flashForm, flashParams, flashWorkgroups, rowPlace } from "./attention-plan.ts";
import { type Binding, type Dispatch, type Kernel, ShapeError, elementCount, f32, formatType, need, sameShape, spread } from "./kernel.ts";

export type AttentionGradientAttributes = AttentionAttributes & {
  /** Compute dq. */
  readonly query: boolean;
  /** Compute dk and dv. */
  readonly keyValue: boolean;
};

/**
 * The cotangents of attention's inputs. Inputs q, k, v, o, logSumExp as attention took and gave them, and dO of o's shape.
 * Outputs: dq [B, Tq, C] if `query`, then dk and dv [B, Tk, C] if `keyValue`. Scores are computed again, never stored, and
 * nothing is summed across workgroups: dq takes a pass over the keys, dk and dv one over the queries (FlashAttention-2, arXiv 2307.08691).
 */
export const attentionGradientKernel: Kernel<AttentionGradientAttributes> = {
  name: "attention-gradient",
  readsColumns: [0, 1, 2],
  writesColumns: ([q], { heads }) => attentionTakesColumns(q!.shape[2]! / heads),
  infer(inputs, { heads, query, keyValue }) {
    const { batch, queries } = attentionSizes("attention-gradient", inputs, heads);
    const [q, k, v] = inputs;
    for (const [index, name] of [[3, "o"], [5, "dO"]] as const) {
      const x = need("attention-gradient", inputs, index, name, 3);
      if (!sameShape(x.shape, q!.shape)) throw new ShapeError("attention-gradient", `${name} ${formatType(x)} must have the shape of q ${formatType(q)}`);
    }
    const logSumExp = need("attention-gradient", inputs, 4, "logSumExp", 3);
    if (!sameShape(logSumExp.shape, [batch, heads, queries])) throw new ShapeError("attention-gradient", `logSumExp must be [${batch},${heads},${queries}], got ${formatType(logSumExp)}`);
    return [...(query ? [f32(q!.shape)] : []), ...(keyValue ? [f32(k!.shape), f32(v!.shape)] : [])];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const sizes = attentionSizes("attention-gradient", inputs, attributes.heads);
    const { batch, heads, queries, keys, head } = sizes;
    const { query, keyValue } = attributes;
    const [qType, kType, vType] = inputs;
    const padding = new HeadPadding(head);
    const { headVec4 } = padding;
    const read = (index: number): Binding => padding.input(inputs[index]!, { input: index });
    const [q, k, v, o, dO] = [read(0), read(1), read(2), read(3), read(5)];
    const dQ = query ? padding.output(qType!, { output: 0 }) : undefined;
    const first = query ? 1 : 0;
    const dK = keyValue ? padding.output(kType!, { output: first }) : undefined;
    const dV = keyValue ? padding.output(vType!, { output: first + 1 }) : undefined;
    const rows = batch * heads * queries;
    const products = rows * keys * head;
    const delta: Binding = { scratch: padding.scratch.push(Math.ceil(rows / 4) * 16) - 1 };
    const params = flashParams(sizes, headVec4, attributes, inputs);
    const place = (name: string, output: number): Record<string, number> => rowPlace(name, outputs[output]!, heads, headVec4);
    const operands = { q, k, v, dO, logSumExp: { input: 4 }, delta };
    const main: Dispatch[] = [
      {
        shader: { name: "attention-gradient-delta", text: deltaWgsl },
        defines: {},
        bindings: { o, dO, delta },
        params: { rows, heads, queries, headVec4, rowStride: heads * headVec4 },
        workgroups: spread(Math.ceil(rows / 64)),
      },
    ];
    if (dQ) {
      const { defines, block } = flashForm(headVec4, queries, 6 * products, ["k", "v"], capabilities);
      main.push({ shader: { name: "attention-gradient-query", text: queryWgsl }, defines, bindings: { ...operands, dQ }, params: { ...params, ...place("DQ", 0) }, workgroups: flashWorkgroups(sizes, queries, block) });
    }
    if (dK && dV) {
      const [kPlace, vPlace] = [outputs[first]!.columns, outputs[first + 1]!.columns];
      const joint = kPlace !== undefined && kPlace.whole === vPlace?.whole;
      const { defines, block } = flashForm(headVec4, keys, 8 * products, ["q", "dO"], capabilities);
      main.push({ shader: { name: "attention-gradient-key-value", text: keyValueWgsl }, defines: { ...defines, JOINT: joint, DV: joint ? "dK" : "dV" }, bindings: { ...operands, dK, ...(!joint && { dV }) }, params: { ...params, ...place("DK", first), ...place("DV", first + 1) }, workgroups: flashWorkgroups(sizes, keys, block) });
    }
    return { dispatches: [...padding.before, ...main, ...padding.after], scratch: padding.scratch };
  },
  cost(inputs, _outputs, { heads, causal, query, keyValue }) {
    const { batch, queries, keys, head } = attentionSizes("attention-gradient", inputs, heads);
    const pairs = batch * heads * queries * keys * (causal ? 0.5 : 1);
    return { flops: pairs * head * ((query ? 6 : 0) + (keyValue ? 8 : 0)) + 2 * elementCount(inputs[3]!.shape) };
  },
};
