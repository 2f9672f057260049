import type { Dispatch, TensorType } from "../../../kernels/kernel.ts";
import type { GraphValue } from "../graph.ts";
import type { Step } from "./step.ts";

/** A storage variable of a dispatch: what holds its numbers, and whether the shader takes them as f16. */
interface Bound {
  readonly name: string;
  readonly value: GraphValue | undefined;
  readonly converts: string | undefined;
}

/** Variables bound to values; scratch memory and what is not there have none. */
function boundOf({ kernel, inputs, outputs, attributes }: Step["node"], { shader, defines, bindings = {} }: Dispatch): Bound[] {
  const text = [shader.text, ...Object.values(defines)].join();
  return [...text.matchAll(/var<storage[^>]*> (\w+): array<(\$)?/g)].map(([, name = "", converts]) => {
    const { input = "", output = input } = (bindings[name] ?? { input: name }) as { readonly input?: string; readonly output?: string };
    return { name, value: kernel!.find(output, inputs, outputs, attributes)?.value, converts };
  });
}

/**
 * Stores values as f16: those that no shader touches but such as convert what they load and store (`array<${x as vec4f}>`), so that
 * arithmetic stays f32. Every other one is f32: what a loss, a reduction, a sampler or an optimiser reads, and what is computed with f32
 * operands (`GraphNode.precise`: SDXL's VAE leaves the range of f16). All are where gradients of weights are computed (`Kernel.keepsF32`).
 * @param storage the value whose memory holds a value
 * @param candidates values in memory of their own that is gone with the run
 * @returns what is stored so, and the steps whose shaders load and store it as such
 */
export function storeHalves(
  steps: readonly Step[],
  storage: (value: GraphValue) => GraphValue,
  candidates: Iterable<GraphValue>,
): { readonly steps: readonly Step[]; readonly halves: ReadonlySet<GraphValue> } {
  const halves = new Set([...candidates].filter((v) => v.type.dtype === "f32"));
  if (steps.some(({ node }) => node.kernel!.keepsF32)) halves.clear();
  if (halves.size === 0) return { steps, halves };
  const isHalf = (v: GraphValue | undefined): boolean => v !== undefined && halves.has(storage(v));
  const bound = steps.map(({ node, plan }) => plan.dispatches.map((dispatch) => boundOf(node, dispatch)));
  for (const { value, converts } of bound.flat(2)) if (value && !converts) halves.delete(storage(value));
  for (const { node } of steps.filter((step) => step.node.precise)) {
    for (const value of [...node.inputs, ...node.outputs]) if (value) halves.delete(storage(value));
  }
  return {
    halves,
    steps: steps.map((step, i) => {
      if (![...step.node.inputs, ...step.node.outputs].some(isHalf)) return step;
      const dispatches = step.plan.dispatches.map((dispatch, j) => ({
        ...dispatch,
        halves: bound[i]![j]!.flatMap(({ name, value }) => (isHalf(value) ? [name] : [])),
      }));
      return { ...step, plan: { ...step.plan, dispatches }, typeOf: (v: GraphValue) => (isHalf(v) ? asHalf(v.type) : v.type) };
    }),
  };
}

/** The same tensor stored as f16. */
export function asHalf(type: TensorType): TensorType {
  return { ...type, dtype: "f16" };
}
