import layoutWgsl from "../shaders/layout.wgsl";
import { type Kernel, type Recorder, type Value, elementCount, f32, need } from "./kernel.ts";
import { perElement } from "./per-element.ts";

/** Both are the same transposition of [batch, rows, columns]: channels and pixels change places. */
function layoutKernel(name: string, back: () => Kernel<Record<string, never>>, channelsFirst: boolean): Kernel<Record<string, never>> {
  return {
    name,
    infer(inputs) {
      const [n, a, b, c] = need(name, inputs, 0, "x", 4).shape as [number, number, number, number];
      return [f32(channelsFirst ? [n, b, c, a] : [n, c, a, b])];
    },
    plan({ inputs, outputs }) {
      const [, a, b, c] = inputs[0]!.shape as [number, number, number, number];
      const [rows, columns] = channelsFirst ? [a, b * c] : [a * b, c];
      const params = { elements: elementCount(outputs[0]!.shape), rows, columns };
      return {
        dispatches: [perElement({ name: "layout", text: layoutWgsl }, params.elements, {}, { x: { input: 0 }, y: { output: 0 } }, params)],
      };
    },
    cost: () => ({ flops: 0 }),
    gradient: ([dy], { g }) => [dy && g.apply(back(), [dy], {})[0]],
  };
}

export const nchwToNhwcKernel = layoutKernel("nchw-to-nhwc", () => nhwcToNchwKernel, true);
export const nhwcToNchwKernel = layoutKernel("nhwc-to-nchw", () => nchwToNhwcKernel, false);

/** `x` [batch, C, height, width] (f32) -> [batch, height, width, C]. @throws ShapeError if x has not 4 dimensions. */
export function nchwToNhwc(g: Recorder, x: Value): Value {
  return g.apply(nchwToNhwcKernel, [x], {})[0]!;
}

/** `x` [batch, height, width, C] (f32) -> [batch, C, height, width]. @throws ShapeError if x has not 4 dimensions. */
export function nhwcToNchw(g: Recorder, x: Value): Value {
  return g.apply(nhwcToNchwKernel, [x], {})[0]!;
}
