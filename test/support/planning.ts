import { uniformAttention } from "../../kernels/attention-table.ts";
import { uniformTable } from "../../kernels/gemm-table.ts";
import type { Attributes, Dispatch, Kernel, Recorder } from "../../kernels/kernel.ts";
import { planningFor } from "../../engine/runtime/choice/planning.ts";

/** A recorder whose ops are planned as usual and their dispatches then changed. */
export function withDispatches(g: Recorder, change: (dispatch: Dispatch) => Dispatch): Recorder {
  const replan = <A extends Attributes, In extends string, Out extends string, Optional extends string>(
    kernel: Kernel<A, In, Out, Optional>,
  ): Kernel<A, In, Out, Optional> => ({
    ...kernel,
    plan(context) {
      const plan = kernel.plan!(context);
      return { ...plan, dispatches: plan.dispatches.map(change) };
    },
    gradient: (cotangents, context) => kernel.gradient!(cotangents, { ...context, g: withDispatches(context.g, change) }),
  });
  return { apply: (kernel, inputs, attributes) => g.apply(replan(kernel), inputs, attributes) };
}

/** As on a GPU whose browser offers no subgroups: the variants that need nothing. */
export function plannedForGpu(g: Recorder): Recorder {
  return planningFor(g, { subgroupSize: 0, software: false, gemm: uniformTable("register"), attention: uniformAttention("tiled-8") });
}
