import type { AttentionAttributes, Qkv } from "../../kernels/attention-plan.ts";
import { attentionGradientKernel } from "../../kernels/attention-gradient.ts";
import { attentionKernel } from "../../kernels/attention.ts";
import type { Capabilities, Dispatch, TensorType } from "../../kernels/kernel.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";
import {
  type AttentionSettings,
  attentionGradientReference,
  attentionReference,
} from "../../engine/verify/self-test/reference/attention.ts";
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
