import type { Shape, Value } from "../../kernels/kernel.ts";
import type { Graph } from "../runtime/graph.ts";
import type { WeightLeaves } from "./layers.ts";
import type { WeightLayout } from "./weight-layout.ts";

/** Notes which weights a model asks for when it is recorded, and has none of their numbers. */
export class NotedWeights implements WeightLeaves {
  readonly shapes = new Map<string, Shape>();
  readonly maxTensorBytes = Infinity;

  storedShape(tensor: string): Shape {
    throw new Error(`"${tensor}" is asked for before it is known`);
  }

  has(): boolean {
    return false; // of alternative names, those of today
  }

  value(g: Graph, tensor: string, layout: WeightLayout, expected: Shape): Value {
    this.shapes.set(tensor, expected);
    const shape =
      layout === "linear"
        ? [expected[1]!, expected[0]!]
        : layout === "conv"
          ? [expected[2]!, expected[3]!, expected[1]!, expected[0]!]
          : [...expected];
    return g.parameter(tensor, { shape, dtype: "f32" });
  }

  joined(): Value {
    throw new Error("layers that are not fused ask for their weights one by one");
  }

  gated(): Value {
    throw new Error("layers that are not fused ask for their weights as they are");
  }

  table(g: Graph, tensor: string, expected: readonly [number, number]): readonly [Value] {
    return [this.value(g, tensor, "plain", expected)];
  }
}
