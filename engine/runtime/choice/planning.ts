import type { Attributes, Capabilities, Kernel, Recorder } from "../../../kernels/kernel.ts";

/** A recorder whose ops, and the ops of their gradients, are planned for other capabilities than the device's. */
export function planningFor(g: Recorder, other: Partial<Capabilities>): Recorder {
  const replan = <A extends Attributes, In extends string, Out extends string, Optional extends string>(
    kernel: Kernel<A, In, Out, Optional>,
  ): Kernel<A, In, Out, Optional> => ({
    ...kernel,
    ...(kernel.plan && { plan: (context) => kernel.plan!({ ...context, capabilities: { ...context.capabilities, ...other } }) }),
    ...(kernel.gradient && {
      gradient: (cotangents, context) => kernel.gradient!(cotangents, { ...context, g: planningFor(context.g, other) }),
    }),
  });
  return { apply: (kernel, inputs, attributes) => g.apply(replan(kernel), inputs, attributes) };
}
