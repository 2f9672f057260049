import type { Attributes, Capabilities, Kernel, Recorder, Value } from "../../../kernels/kernel.ts";

/** A recorder whose ops, and the ops of their gradients, are planned for other capabilities than the device's. */
export function planningFor(g: Recorder, other: Partial<Capabilities>): Recorder {
  const replan = <A extends Attributes>(kernel: Kernel<A>): Kernel<A> => ({
    ...kernel,
    plan: (context) => kernel.plan!({ ...context, capabilities: { ...context.capabilities, ...other } }),
    gradient: (cotangents, context) => kernel.gradient!(cotangents, { ...context, g: planningFor(context.g, other) }),
  });
  return {
    apply: <A extends Attributes>(kernel: Kernel<A>, inputs: readonly (Value | undefined)[], attributes: A) =>
      g.apply(replan(kernel), inputs, attributes),
  };
}
