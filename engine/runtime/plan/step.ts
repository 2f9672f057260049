import type { Plan, TensorType } from "../../../kernels/kernel.ts";
import type { GraphNode, GraphValue } from "../graph.ts";

/** One op of a schedule with its dispatches. */
export interface Step {
  readonly node: GraphNode;
  readonly plan: Plan;
  /** How a value of the node is stored, where that is not by its own type. */
  readonly typeOf?: (value: GraphValue) => TensorType;
}
