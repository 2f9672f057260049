import type { AttentionAttributes, Qkv } from "../../kernels/attention-plan.ts";
import { attentionGradientKernel } from "../../kernels/attention-gradient.ts";
import { attentionKernel } from "../../kernels/attention.ts";
import type { Capabilities, Dispatch, TensorType } from "../../kernels/kernel.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import type { Array64 } from "../../engine/verify/self-test/array64.ts";
import { type AttentionSettings, attentionReference, dot, eachRow, sizes } from "../../engine/verify/self-test/reference/attention.ts";
import type { OpInput, OpSpec } from "./op-test.ts";

export interface AttentionCase extends AttentionSettings {
  readonly name: string;
  readonly batch?: number;
  readonly queries: number;
  readonly keys: number;
  readonly head: number;
  /** Standard deviation of q and k. */
  readonly size?: number;
}

export function attentionInputs({ batch = 1, queries, keys, head, heads, size = 1 }: AttentionCase): Record<string, OpInput> {
  return {
    q: { shape: [batch, queries, heads * head], scale: size },
    k: { shape: [batch, keys, heads * head], scale: size },
    v: { shape: [batch, keys, heads * head] },
  };
}

/** Output, logSumExp and all gradients, as the kernels plan them for a device with these capabilities. */
export function attentionWithGradients(c: AttentionCase, override: Partial<Capabilities>): OpSpec {
  const attributes: AttentionAttributes = { heads: c.heads, causal: c.causal ?? false, scale: c.scale ?? 1 / Math.sqrt(c.head) };
  const inputs = attentionInputs(c);
  return {
    name: c.name,
    inputs: { ...inputs, dO: { shape: inputs["q"]!.shape } },
    build: (recorder, { q, k, v, dO }) => {
      const g = planningFor(recorder, override);
      const qkv = { q: q!, k: k!, v: v! };
      const { o, logSumExp } = g.apply(attentionKernel, qkv, attributes);
      const of = { ...attributes, query: true, keyValue: true };
      const { dQ, dK, dV } = g.apply(attentionGradientKernel, { ...qkv, o, logSumExp, dO: dO! }, of);
      return [o, logSumExp, dQ, dK, dV];
    },
    reference: ({ q, k, v, dO }) => [...attentionReference(q!, k!, v!, c), ...attentionGradientReference(q!, k!, v!, dO!, c)],
  };
}

/** dq, dk, dv for the cotangent dO of o, by the chain rule through the stored probabilities. */
function attentionGradientReference(
  q: Array64,
  k: Array64,
  v: Array64,
  dO: Array64,
  settings: AttentionSettings,
): [dq: Array64, dk: Array64, dv: Array64] {
  const { head, scale } = sizes(q, k, settings);
  const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.data.length)) as [Float64Array, Float64Array, Float64Array];
  eachRow(q, k, settings, ({ p, at, keyAt }) => {
    const dp = p.map((_, j) => dot(dO.data, at, v.data, keyAt(j), head));
    const mean = p.reduce((sum, x, j) => sum + x * dp[j]!, 0);
    p.forEach((weight, j) => {
      const ds = scale * weight * (dp[j]! - mean);
      for (let c = 0; c < head; c++) {
        dq[at + c]! += ds * k.data[keyAt(j) + c]!;
        dk[keyAt(j) + c]! += ds * q.data[at + c]!;
        dv[keyAt(j) + c]! += weight * dO.data[at + c]!;
      }
    });
  });
  return [
    { shape: q.shape, data: dq },
    { shape: k.shape, data: dk },
    { shape: v.shape, data: dv },
  ];
}

/** The dispatches of attention and of its gradient, as planned for a device with these capabilities. */
export function attentionPlans(
  inputs: Qkv<TensorType>,
  attributes: AttentionAttributes,
  capabilities: Capabilities,
): { readonly dispatches: readonly Dispatch[]; readonly gradient: readonly Dispatch[] } {
  const context = { capabilities, overwrites: false };
  const { q, k, v } = inputs;
  const { o, logSumExp } = attentionKernel.infer(inputs, attributes);
  const outputs = { o: o!, logSumExp: logSumExp! };
  const forward = attentionKernel.plan!({ ...context, inputs, outputs, attributes, read: { o: true, logSumExp: true } });
  const gradient = attentionGradientKernel.plan!({
    ...context,
    inputs: { ...inputs, ...outputs, dO: q },
    outputs: { dQ: q, dK: k, dV: v },
    attributes: { ...attributes, query: true, keyValue: true },
    read: { dQ: true, dK: true, dV: true },
  });
  return { dispatches: forward.dispatches, gradient: gradient.dispatches };
}
