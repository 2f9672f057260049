import { attentionGradientKernel } from "./attention-gradient.ts";
import {
  type AttentionAttributes,
  type AttentionSizes,
  HeadPadding,
  MAX_FLASH_HEAD,
  attentionSizes,
  flashParams,
} from "./attention-plan.ts";
import { flashPass } from "./attention-form.ts";
import { composedAttention } from "./composed-attention.ts";
import { type Kernel, type Recorder, ShapeError, type Value, f32, formatType } from "./kernel.ts";

/**
 * o = softmax(scale q k^T) v for each head, in one pass that stores no scores (FlashAttention, arXiv 2205.14135).
 * Inputs: q [B, Tq, heads * d], k and v [B, Tk, heads * d], heads first inside the channels (diffusers' head_to_batch_dim).
 * Outputs: o [B, Tq, heads * d] and logSumExp [B, heads, Tq], the natural logarithm of each row's sum of exp(score), kept for the gradient.
 */
export const attentionKernel: Kernel<AttentionAttributes> = {
  name: "attention",
  readsColumns: [0, 1, 2],
  infer(inputs, { heads }) {
    const { batch, queries, head } = attentionSizes("attention", inputs, heads);
    if (head > MAX_FLASH_HEAD) {
      throw new ShapeError(
        "attention",
        `heads of q ${formatType(inputs[0])} have ${head} channels, at most ${MAX_FLASH_HEAD} fit: use attention(), which composes ` +
          "larger ones",
      );
    }
    return [f32(inputs[0]!.shape), f32([batch, heads, queries])];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const sizes = attentionSizes("attention", inputs, attributes.heads);
    const padding = new HeadPadding(sizes.head);
    const { headVec4, scratch } = padding;
    const main = flashPass(
      {
        name: "forward",
        sizes,
        headVec4,
        flops: flops(sizes),
        bindings: {
          q: padding.input(inputs[0]!, { input: 0 }),
          k: padding.input(inputs[1]!, { input: 1 }),
          v: padding.input(inputs[2]!, { input: 2 }),
          logSumExp: { output: 1 },
        },
        params: flashParams(sizes, headVec4, attributes, inputs),
        outputs: [{ name: "o", binding: padding.output(outputs[0]!, { output: 0 }) }],
        scratch,
      },
      capabilities,
    );
    return { dispatches: [...padding.before, ...main, ...padding.after], scratch };
  },
  cost(inputs, _outputs, { heads, causal }) {
    return { flops: flops(attentionSizes("attention", inputs, heads)) * (causal ? 0.5 : 1) };
  },
  gradient([dO, dLogSumExp], { g, inputs, outputs, attributes, wanted }) {
    if (dLogSumExp) throw new ShapeError("attention", "has no gradient rule for its output logSumExp");
    const [query, keyValue] = [wanted[0] === true, wanted[1] === true || wanted[2] === true];
    if (!dO || !(query || keyValue)) return [];
    const result = g.apply(attentionGradientKernel, [...inputs, ...outputs, dO], { ...attributes, query, keyValue });
    const [dk, dv] = result.slice(query ? 1 : 0);
    return [query ? result[0] : undefined, wanted[1] ? dk : undefined, wanted[2] ? dv : undefined];
  },
};

function flops({ batch, heads, queries, keys, head }: AttentionSizes): number {
  return 4 * batch * heads * queries * keys * head;
}

export interface AttentionOptions {
  readonly heads: number;
  /** Query i sees keys 0..i only (false by default). */
  readonly causal?: boolean;
  /** Factor on q k^T (1 / sqrt(d) by default). */
  readonly scale?: number;
}

/**
 * Multi-head scaled dot-product attention of q [B, Tq, heads * d] over k, v [B, Tk, heads * d] (f32) -> [B, Tq, heads * d].
 * Flash kernels up to d = 160; above, `composedAttention`.
 * @throws ShapeError if the shapes do not fit together, the channels do not split into the heads, or a causal head is larger than 160.
 */
export function attention(g: Recorder, q: Value, k: Value, v: Value, { heads, causal = false, scale }: AttentionOptions): Value {
  const { head } = attentionSizes("attention", [q.type, k.type, v.type], heads);
  const factor = scale ?? 1 / Math.sqrt(head);
  if (head <= MAX_FLASH_HEAD) return g.apply(attentionKernel, [q, k, v], { heads, causal, scale: factor })[0]!;
  if (causal) {
    throw new ShapeError(
      "attention",
      `causal attention takes heads of at most ${MAX_FLASH_HEAD} channels, got ${head} in q ${formatType(q.type)} with ${heads} heads`,
    );
  }
  return composedAttention(g, q, k, v, { heads, scale: factor });
}
