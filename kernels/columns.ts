import joinColumnsWgsl from "../shaders/join-columns.wgsl";
import { fill } from "./fill.ts";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType, need } from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

type Attributes = { readonly widths: readonly number[] };

/** Views of consecutive columns, `widths[i]` of them each: for kernels that read columns, without a copy. */
export const splitColumnsKernel: Kernel<Attributes> = {
  name: "split-columns",
  view: true,
  infer(inputs, { widths }) {
    const x = need("split-columns", inputs, 0, "x");
    const stride = x.shape.at(-1);
    if (stride === undefined || widths.some((w) => !Number.isInteger(w) || w < 1) || widths.reduce((a, b) => a + b, 0) !== stride) {
      throw new ShapeError("split-columns", `widths ${widths.join(" + ")} do not make up the last dimension of x ${formatType(x)}`);
    }
    let offset = 0;
    return widths.map((width) => {
      const type = { ...f32([...x.shape.slice(0, -1), width]), columns: { stride, offset } };
      offset += width;
      return type;
    });
  },
  gradient(cotangents, { g, outputs }) {
    return [joinColumns(g, cotangents.map((dy, i) => dy ?? fill(g, outputs[i]!.type.shape, 0)))];
  },
};

/** The inputs side by side along the last dimension. One dispatch for each input that was not written to its place at once. */
export const joinColumnsKernel: Kernel<Record<string, never>> = {
  name: "join-columns",
  joins: true,
  infer(inputs) {
    const first = need("join-columns", inputs, 0, "part 0");
    const rows = first.shape.slice(0, -1).join();
    const widths = inputs.map((_, i) => {
      const part = need("join-columns", inputs, i, `part ${i}`);
      if (part.shape.length < 1 || part.shape.slice(0, -1).join() !== rows) {
        throw new ShapeError(
          "join-columns",
          `part ${i} ${formatType(part)} and part 0 ${formatType(first)} must agree in all but the last dimension`,
        );
      }
      return part.shape.at(-1)!;
    });
    return [f32([...first.shape.slice(0, -1), widths.reduce((a, b) => a + b, 0)])];
  },
  plan({ inputs, outputs }) {
    const stride = outputs[0]!.shape.at(-1)!;
    let start = 0;
    const dispatches = inputs.flatMap((part, i) => {
      const width = part!.shape.at(-1)!;
      const offset = start;
      start += width;
      if (part!.columns) return [];
      const lanes = lanesFor(width, stride, offset);
      const params = { elements: elementCount(part!.shape) / lanes, width: width / lanes, stride: stride / lanes, offset: offset / lanes };
      return [
        perElement(
          { name: "join-columns", text: joinColumnsWgsl },
          params.elements,
          { VEC4: lanes === 4 },
          { x: { input: i }, y: { output: 0 } },
          params,
        ),
      ];
    });
    return { dispatches };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * `x` (f32 [.., N]) cut into columns of the given widths, which make up N: [.., widths[i]] each, all in x's memory. Only kernels that name
 * the place in `readsColumns` take them. @throws ShapeError if the widths do not make up N.
 */
export function splitColumns(g: Recorder, x: Value, widths: readonly number[]): Value[] {
  return g.apply(splitColumnsKernel, [x], { widths: [...widths] });
}

/**
 * f32 tensors [.., n_i] side by side: [.., sum of n_i]. Without a gradient: it is what the gradient of `splitColumns` is made of.
 * @throws ShapeError if another dimension differs.
 */
export function joinColumns(g: Recorder, parts: readonly Value[]): Value {
  return parts.length === 1 ? parts[0]! : g.apply(joinColumnsKernel, parts, {})[0]!;
}
