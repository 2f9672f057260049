import type { Dispatch, TensorType } from "../../../kernels/kernel.ts";
import type { GraphValue } from "../graph.ts";
import type { Step } from "./schedule.ts";

/** Storage variables of a shader's text and its snippets, and whether the text takes their elements as f16. */
const known = new Map<string, ReadonlyMap<string, boolean>>();

function variablesOf(text: string): ReadonlyMap<string, boolean> {
  let found = known.get(text);
  if (!found) {
    const declared = [...text.matchAll(/var<storage[^>]*> (\w+)\s*: array<(\$\{)?/g)];
    found = new Map(declared.map(([, name = "", stored]) => [name, stored !== undefined]));
    known.set(text, found);
  }
  return found;
}

function storageVariables({ shader, defines }: Dispatch): Map<string, boolean> {
  const texts = [shader.text, ...Object.values(defines).filter((d) => typeof d === "string" && d.includes("var<storage"))];
  return new Map(texts.flatMap((text) => [...variablesOf(text as string)]));
}

/** The value that a variable of a step's dispatch is bound to; undefined for scratch memory and for what is not there. */
function boundValue({ kernel, inputs, outputs, attributes }: Step["node"], { bindings }: Dispatch, variable: string): GraphValue | undefined {
  const binding = bindings?.[variable] ?? { input: variable };
  if (binding === "nothing" || "scratch" in binding) return undefined;
  return kernel!.find("input" in binding ? binding.input : binding.output, inputs, outputs, attributes)?.value;
}

/**
 * Which values are stored as f16: those that no shader touches but such as convert what they load and store (`array<${x as vec4f}>`), so
 * that arithmetic stays f32. Every other one is f32: what a loss, a reduction, a sampler or an optimiser reads. All are where gradients of
 * weights are computed (`Kernel.keepsF32`).
 * @param storage the value whose memory holds a value
 * @param candidates values in memory of their own that is gone with the run
 */
export function halfValues(
  steps: readonly Step[],
  storage: (value: GraphValue) => GraphValue,
  candidates: Iterable<GraphValue>,
): ReadonlySet<GraphValue> {
  if (steps.some(({ node }) => node.kernel!.keepsF32)) return new Set();
  const halves = new Set([...candidates].filter((v) => v.type.dtype === "f32"));
  for (const { node, plan } of steps) {
    for (const dispatch of plan.dispatches) {
      for (const [variable, converts] of storageVariables(dispatch)) {
        const value = boundValue(node, dispatch, variable);
        if (value && !converts) halves.delete(storage(value));
      }
    }
  }
  return halves;
}

/** A step whose shaders load and store the halves among its values as such. */
export function withHalves(step: Step, storage: (value: GraphValue) => GraphValue, halves: ReadonlySet<GraphValue>): Step {
  const isHalf = (v: GraphValue | undefined): boolean => v !== undefined && halves.has(storage(v));
  if (![...step.node.inputs, ...step.node.outputs].some(isHalf)) return step;
  const dispatches = step.plan.dispatches.map((dispatch) => {
    const names = [...storageVariables(dispatch).keys()].filter((name) => isHalf(boundValue(step.node, dispatch, name)));
    return names.length === 0 ? dispatch : { ...dispatch, halves: names };
  });
  return { ...step, plan: { ...step.plan, dispatches }, typeOf: (v) => (isHalf(v) ? asHalf(v.type) : v.type) };
}

/** The same tensor stored as f16. */
export function asHalf(type: TensorType): TensorType {
  return { ...type, dtype: "f16" };
}
