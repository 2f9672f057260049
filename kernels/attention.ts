import { attentionGradientKernel } from "./attention-gradient.ts";
import {
  type AttentionAttributes,
  type AttentionSizes,
  HeadPadding,
  MAX_FLASH_HEAD,
  QKV_RULE,
  attentionSizes,
  flashParams,
  sizesOf,
} from "./attention-plan.ts";
import { flashPass } from "./attention-form.ts";
import { composedAttention } from "./composed-attention.ts";
import { type Kernel, type Recorder, ShapeError, type Value, f32, formatType } from "./kernel.ts";

/**
 * o = softmax(scale q k^T) v for each head, in one pass that stores no scores (FlashAttention, arXiv 2205.14135).
 * Inputs: q [B, Tq, heads * d], k and v [B, Tk, heads * d], heads first inside the channels (diffusers' head_to_batch_dim).
 * Outputs: o [B, Tq, heads * d] and logSumExp [B, heads, Tq], the natural logarithm of each row's sum of exp(score), kept for the gradient.
 */
export const attentionKernel: Kernel<AttentionAttributes, "q" | "k" | "v", "o" | "logSumExp"> = {
  name: "attention",
  inputs: { q: QKV_RULE, k: QKV_RULE, v: QKV_RULE },
  outputs: ["o", "logSumExp"],
  infer(inputs, { heads }) {
    const { batch, queries, head } = attentionSizes(inputs, heads);
    if (head > MAX_FLASH_HEAD) {
      throw new ShapeError(
        `heads of q ${formatType(inputs.q)} have ${head} channels, at most ${MAX_FLASH_HEAD} fit: use attention(), which composes ` +
          "larger ones",
      );
    }
    return { o: f32(inputs.q.shape), logSumExp: f32([batch, heads, queries]) };
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const sizes = attentionSizes(inputs, attributes.heads);
    const padding = new HeadPadding(sizes.head);
    const { headVec4, scratch } = padding;
    const main = flashPass(
      {
        name: "forward",
        sizes,
        headVec4,
        flops: flops(sizes),
        bindings: {
          q: padding.input(inputs.q, { input: "q" }),
          k: padding.input(inputs.k, { input: "k" }),
          v: padding.input(inputs.v, { input: "v" }),
          logSumExp: { output: "logSumExp" },
        },
        params: flashParams(sizes, headVec4, attributes, inputs),
        outputs: [{ name: "o", binding: padding.output(outputs.o, { output: "o" }) }],
        scratch,
      },
      capabilities,
    );
    return { dispatches: [...padding.before, ...main, ...padding.after], scratch };
  },
  cost: (inputs, _outputs, { heads, causal }) => ({ flops: flops(attentionSizes(inputs, heads)) * (causal ? 0.5 : 1) }),
  gradient({ o: dO, logSumExp: dLogSumExp }, { g, inputs, outputs, attributes, wanted }) {
    if (dLogSumExp) throw new ShapeError("has no gradient rule for its output logSumExp");
    const [query, keyValue] = [wanted.q, wanted.k || wanted.v];
    if (!dO || !(query || keyValue)) return {};
    const { dQ, dK, dV } = g.apply(attentionGradientKernel, { ...inputs, ...outputs, dO }, { ...attributes, query, keyValue });
    return { q: query ? dQ : undefined, k: wanted.k ? dK : undefined, v: wanted.v ? dV : undefined };
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
  const { head } = sizesOf({ q, k, v }, heads);
  const factor = scale ?? 1 / Math.sqrt(head);
  if (head <= MAX_FLASH_HEAD) return g.apply(attentionKernel, { q, k, v }, { heads, causal, scale: factor }).o;
  if (causal) {
    throw new ShapeError(
      "attention",
      `causal attention takes heads of at most ${MAX_FLASH_HEAD} channels, got ${head} in q ${formatType(q.type)} with ${heads} heads`,
    );
  }
  return composedAttention(g, q, k, v, { heads, scale: factor });
}
