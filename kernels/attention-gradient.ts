import deltaWgsl from "../shaders/attention-gradient-delta.wgsl";
import {
  type AttentionAttributes,
  HeadPadding,
  type PassOutput,
  attentionSizes,
  attentionTakesColumns,
  flashParams,
  rowPlace,
} from "./attention-plan.ts";
import { flashPass } from "./attention-form.ts";
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
      if (!sameShape(x.shape, q!.shape)) {
        throw new ShapeError("attention-gradient", `${name} ${formatType(x)} must have the shape of q ${formatType(q)}`);
      }
    }
    const logSumExp = need("attention-gradient", inputs, 4, "logSumExp", 3);
    if (!sameShape(logSumExp.shape, [batch, heads, queries])) {
      throw new ShapeError("attention-gradient", `logSumExp must be [${batch},${heads},${queries}], got ${formatType(logSumExp)}`);
    }
    return [...(query ? [f32(q!.shape)] : []), ...(keyValue ? [f32(k!.shape), f32(v!.shape)] : [])];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const sizes = attentionSizes("attention-gradient", inputs, attributes.heads);
    const { batch, heads, queries, keys, head } = sizes;
    const { query, keyValue } = attributes;
    const padding = new HeadPadding(head);
    const { headVec4, scratch } = padding;
    const read = (index: number): Binding => padding.input(inputs[index]!, { input: index });
    const [q, k, v, o, dO] = [read(0), read(1), read(2), read(3), read(5)];
    const output = (name: PassOutput["name"], index: number): PassOutput => ({
      name,
      binding: padding.output(outputs[index]!, { output: index }),
      place: rowPlace(outputs[index]!, heads, headVec4),
    });
    const first = query ? 1 : 0;
    const [queryOutputs, keyValueOutputs] = [
      query ? [output("dQ", 0)] : [],
      keyValue ? [output("dK", first), output("dV", first + 1)] : [],
    ];
    const rows = batch * heads * queries;
    const products = rows * keys * head;
    const delta: Binding = { scratch: scratch.push(Math.ceil(rows / 4) * 16) - 1 };
    const shared = {
      sizes,
      headVec4,
      bindings: { q, k, v, dO, logSumExp: { input: 4 }, delta },
      params: flashParams(sizes, headVec4, attributes, inputs),
      scratch,
    };
    const main: Dispatch[] = [
      {
        shader: { name: "attention-gradient-delta", text: deltaWgsl },
        defines: {},
        bindings: { o, dO, delta },
        params: { rows, heads, queries, headVec4, rowStride: heads * headVec4 },
        workgroups: spread(Math.ceil(rows / 64)),
      },
    ];
    if (query) main.push(...flashPass({ ...shared, name: "query", flops: 6 * products, outputs: queryOutputs }, capabilities));
    if (keyValue) {
      const [kPlace, vPlace] = [outputs[first]!.columns, outputs[first + 1]!.columns];
      const joint = kPlace !== undefined && kPlace.whole === vPlace?.whole;
      main.push(...flashPass({ ...shared, name: "key-value", flops: 8 * products, outputs: keyValueOutputs, joint }, capabilities));
    }
    return { dispatches: [...padding.before, ...main, ...padding.after], scratch };
  },
  cost(inputs, _outputs, { heads, causal, query, keyValue }) {
    const { batch, queries, keys, head } = attentionSizes("attention-gradient", inputs, heads);
    const pairs = batch * heads * queries * keys * (causal ? 0.5 : 1);
    return { flops: pairs * head * ((query ? 6 : 0) + (keyValue ? 8 : 0)) + 2 * elementCount(inputs[3]!.shape) };
  },
};
