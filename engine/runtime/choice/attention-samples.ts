import { attention } from "../../../kernels/attention.ts";
import { attentionGradientKernel } from "../../../kernels/attention-gradient.ts";
import type { AttentionClass } from "../../../kernels/attention-table.ts";
import { f32 } from "../../../kernels/kernel.ts";
import type { ProbeClass, Sample } from "./kernel-probe.ts";

interface Size {
  readonly queries: number;
  readonly keys: number;
  readonly heads: number;
  readonly head: number;
  readonly causal?: boolean;
}

function tokens(count: number, { heads, head }: Size): ReturnType<typeof f32> {
  return f32([1, count, heads * head]);
}

function outputs(size: Size): Sample {
  const { queries, keys } = size;
  return {
    inputs: { q: tokens(queries, size), k: tokens(keys, size), v: tokens(keys, size) },
    build: (g, { q, k, v }) => attention(g, q!, k!, v!, size),
  };
}

/**
 * One gradient. Random numbers for o and logSumExp are as good as those that attention would give: the probabilities are then no such, but
 * finite.
 */
function gradient(of: "query" | "key-value", size: Size): Sample {
  const { queries, keys, heads, head, causal = false } = size;
  const attributes = { heads, causal, scale: 1 / Math.sqrt(head), query: of === "query", keyValue: of === "key-value" };
  return {
    inputs: {
      q: tokens(queries, size),
      k: tokens(keys, size),
      v: tokens(keys, size),
      o: tokens(queries, size),
      logSumExp: f32([1, heads, queries]),
      dO: tokens(queries, size),
    },
    build: (g, { q, k, v, o, logSumExp, dO }) =>
      Object.values(g.apply(attentionGradientKernel, { q: q!, k: k!, v: v!, o: o!, logSumExp: logSumExp!, dO: dO! }, attributes))[0]!,
  };
}

/**
 * What attention's forms are probed with: checked with sizes that no block divides, timed as the SD 1.4 UNet's at latents of 64 x 64, its
 * outermost and innermost self attention, and its text encoder's; on a software adapter at latents of 16 x 16.
 */
export function attentionSamples(software: boolean): readonly ProbeClass<AttentionClass>[] {
  const prompt: Size = { queries: 77, keys: 77, heads: 12, head: 64, causal: true };
  const tiny: Size = software ? { queries: 64, keys: 64, heads: 2, head: 80, causal: true } : prompt;
  const small: Size = software ? { queries: 64, keys: 64, heads: 8, head: 80 } : { queries: 256, keys: 256, heads: 8, head: 160 };
  const large: Size = software ? { queries: 256, keys: 256, heads: 8, head: 40 } : { queries: 4096, keys: 4096, heads: 8, head: 40 };
  const odd: Size = { queries: 133, keys: 77, heads: 2, head: 40 };
  const causal: Size = { queries: 77, keys: 77, heads: 2, head: 160, causal: true };
  // One object for each check: what several classes share is checked once.
  const [forward, forwardCausal] = [outputs(odd), outputs(causal)];
  const gradientClasses = (["query", "key-value"] as const).flatMap((of): ProbeClass<AttentionClass>[] => {
    const [backward, backwardCausal] = [gradient(of, odd), gradient(of, causal)];
    return [
      { name: `${of} tiny`, check: [backward, backwardCausal], time: gradient(of, tiny) },
      { name: `${of} small`, check: [backward, backwardCausal], time: gradient(of, small) },
      { name: `${of} large`, check: [backward], time: gradient(of, large) },
    ];
  });
  return [
    { name: "forward tiny", check: [forward, forwardCausal], time: outputs(tiny) },
    { name: "forward small", check: [forward, forwardCausal], time: outputs(small) },
    { name: "forward large", check: [forward], time: outputs(large) },
    ...gradientClasses,
  ];
}
