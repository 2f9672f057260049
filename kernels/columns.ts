import joinColumnsWgsl from "../shaders/join-columns.wgsl";
import { fill } from "./fill.ts";
import {
  type Kernel, type NoAttributes, type Recorder, ShapeError, type TensorType, type Value, columnsOf, elementCount, f32, formatType,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

type Attributes = { readonly widths: readonly number[] };

/** Views of consecutive columns, `widths[i]` of them each, y0, y1 and so on: for kernels that read columns, without a copy. */
export const splitColumnsKernel: Kernel<Attributes, "x", `y${number}`> = {
  name: "split-columns",
  inputs: { x: {} },
  outputs: ({ widths }) => widths.map((_, i) => `y${i}` as const),
  layout: "view",
  infer({ x }, { widths }) {
    const stride = x.shape.at(-1);
    if (stride === undefined || widths.some((w) => !Number.isInteger(w) || w < 1) || widths.reduce((a, b) => a + b, 0) !== stride) {
      throw new ShapeError(`widths ${widths.join(" + ")} do not make up the last dimension of x ${formatType(x)}`);
    }
    let offset = 0;
    return Object.fromEntries(
      widths.map((width, i) => {
        const type: TensorType = { ...f32([...x.shape.slice(0, -1), width]), layout: { stride, offset } };
        offset += width;
        return [`y${i}`, type];
      }),
    );
  },
  gradient(cotangents, { g, outputs, attributes: { widths } }) {
    return { x: joinColumns(g, widths.map((_, i) => cotangents[`y${i}`] ?? fill(g, outputs[`y${i}`]!.type.shape, 0))) };
  },
};

/** The inputs side by side along the last dimension. One dispatch for each input that was not written to its place at once. */
export const joinColumnsKernel: Kernel<NoAttributes, `x${number}`> = {
  name: "join-columns",
  inputs: {},
  rest: { x: {} },
  layout: "join",
  infer(inputs) {
    const parts = Object.values(inputs);
    const [first] = parts;
    if (!first) throw new ShapeError("needs at least one input");
    const rows = first.shape.slice(0, -1).join();
    parts.forEach((part, i) => {
      if (part.shape.length < 1 || part.shape.slice(0, -1).join() !== rows) {
        throw new ShapeError(`x${i} ${formatType(part)} and x0 ${formatType(first)} must agree in all but the last dimension`);
      }
    });
    return { y: f32([...first.shape.slice(0, -1), parts.reduce((width, part) => width + part.shape.at(-1)!, 0)]) };
  },
  plan({ inputs, outputs: { y } }) {
    const stride = y.shape.at(-1)!;
    let start = 0;
    const dispatches = Object.entries(inputs).flatMap(([name, part]) => {
      const width = part.shape.at(-1)!;
      const offset = start;
      start += width;
      if (columnsOf(part)) return [];
      const { lanes, defines } = packing(width, stride, offset);
      const count = elementCount(part.shape) / lanes;
      const params = { count, width: width / lanes, stride: stride / lanes, offset: offset / lanes };
      return [pointwise({ name: "join-columns", text: joinColumnsWgsl }, params, { defines, bindings: { x: { input: name } } })];
    });
    return { dispatches };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * `x` (f32 [.., N]) cut into columns of the given widths, which make up N: [.., widths[i]] each, all in x's memory. Only kernels whose
 * input reads columns take them. @throws ShapeError if the widths do not make up N.
 */
export function splitColumns(g: Recorder, x: Value, widths: readonly number[]): Value[] {
  return Object.values(g.apply(splitColumnsKernel, { x }, { widths: [...widths] }));
}

/**
 * f32 tensors [.., n_i] side by side: [.., sum of n_i]. Without a gradient: it is what the gradient of `splitColumns` is made of.
 * @throws ShapeError if another dimension differs.
 */
export function joinColumns(g: Recorder, parts: readonly Value[]): Value {
  if (parts.length === 1) return parts[0]!;
  return g.apply(joinColumnsKernel, Object.fromEntries(parts.map((part, i) => [`x${i}`, part])), {}).y;
}
