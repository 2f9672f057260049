import concatWgsl from "../shaders/concat.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType } from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";
import { innerSize, slice } from "./slice.ts";

export const concatKernel: Kernel<{ readonly axis: number }, "a" | "b"> = {
  name: "concat",
  inputs: { a: {}, b: {} },
  infer({ a, b }, { axis }) {
    const rank = a.shape.length;
    if (!Number.isInteger(axis) || axis < 0 || axis >= rank) throw new ShapeError(`axis ${axis} is not one of ${formatType(a)}`);
    if (b.shape.length !== rank || a.shape.some((d, i) => i !== axis && d !== b.shape[i])) {
      throw new ShapeError(`a ${formatType(a)} and b ${formatType(b)} must agree in every dimension but axis ${axis}`);
    }
    return { y: f32(a.shape.map((d, i) => (i === axis ? d + b.shape[i]! : d))) };
  },
  plan({ inputs: { a, b }, outputs: { y }, attributes: { axis } }) {
    const inner = innerSize(a.shape, axis);
    const [columnsA, columnsB] = [a.shape[axis]! * inner, b.shape[axis]! * inner];
    const { lanes, defines } = packing(columnsA, columnsB);
    const params = { count: elementCount(y.shape) / lanes, columnsA: columnsA / lanes, columnsB: columnsB / lanes };
    return { dispatches: [pointwise({ name: "concat", text: concatWgsl }, params, { defines })] };
  },
  cost: () => ({ flops: 0 }),
  gradient({ y: dy }, { g, inputs: { a, b }, wanted, attributes: { axis } }) {
    const [countA, countB] = [a.type.shape[axis]!, b.type.shape[axis]!];
    return {
      a: dy && wanted.a ? slice(g, dy, 0, countA, axis) : undefined,
      b: dy && wanted.b ? slice(g, dy, countA, countB, axis) : undefined,
    };
  },
};

/**
 * `a` and `b` (f32) joined along `axis` (the last one by default): [.., A], [.., B] -> [.., A + B].
 * @throws ShapeError if another dimension differs.
 */
export function concat(g: Recorder, a: Value, b: Value, axis = a.type.shape.length - 1): Value {
  return g.apply(concatKernel, { a, b }, { axis }).y;
}
