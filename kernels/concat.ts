import concatWgsl from "../shaders/concat.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType, need } from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";
import { innerSize, slice } from "./slice.ts";

export const concatKernel: Kernel<{ readonly axis: number }> = {
  name: "concat",
  infer(inputs, { axis }) {
    const a = need("concat", inputs, 0, "a");
    const b = need("concat", inputs, 1, "b");
    const rank = a.shape.length;
    if (!Number.isInteger(axis) || axis < 0 || axis >= rank) throw new ShapeError("concat", `axis ${axis} is not one of ${formatType(a)}`);
    if (b.shape.length !== rank || a.shape.some((d, i) => i !== axis && d !== b.shape[i])) {
      throw new ShapeError("concat", `a ${formatType(a)} and b ${formatType(b)} must agree in every dimension but axis ${axis}`);
    }
    return [f32(a.shape.map((d, i) => (i === axis ? d + b.shape[i]! : d)))];
  },
  plan({ inputs, outputs, attributes: { axis } }) {
    const [a, b, y] = [inputs[0]!, inputs[1]!, outputs[0]!];
    const inner = innerSize(a.shape, axis);
    const [columnsA, columnsB] = [a.shape[axis]! * inner, b.shape[axis]! * inner];
    const lanes = lanesFor(columnsA, columnsB);
    const params = { elements: elementCount(y.shape) / lanes, columnsA: columnsA / lanes, columnsB: columnsB / lanes };
    return {
      dispatches: [
        perElement(
          { name: "concat", text: concatWgsl },
          params.elements,
          { VEC4: lanes === 4 },
          { a: { input: 0 }, b: { input: 1 }, y: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: () => ({ flops: 0 }),
  gradient([dy], { g, inputs, wanted, attributes: { axis } }) {
    const [countA, countB] = [inputs[0]!.type.shape[axis]!, inputs[1]!.type.shape[axis]!];
    return [dy && wanted[0] ? slice(g, dy, 0, countA, axis) : undefined, dy && wanted[1] ? slice(g, dy, countA, countB, axis) : undefined];
  },
};

/**
 * `a` and `b` (f32) joined along `axis` (the last one by default): [.., A], [.., B] -> [.., A + B].
 * @throws ShapeError if another dimension differs.
 */
export function concat(g: Recorder, a: Value, b: Value, axis = a.type.shape.length - 1): Value {
  return g.apply(concatKernel, [a, b], { axis })[0]!;
}
