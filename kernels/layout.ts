import layoutWgsl from "../shaders/layout.wgsl";
import { type Kernel, type NoAttributes, type Plan, type Recorder, type Value, elementCount, f32 } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

type LayoutKernel = Kernel<NoAttributes, "x">;

/** Both are the same transposition of [batch, rows, columns]: channels and pixels change places. */
function planLayout({ inputs: { x } }: Parameters<NonNullable<LayoutKernel["plan"]>>[0], channelsFirst: boolean): Plan {
  const [, a, b, c] = x.shape as [number, number, number, number];
  const [rows, columns] = channelsFirst ? [a, b * c] : [a * b, c];
  const elements = elementCount(x.shape);
  return { dispatches: [pointwise({ name: "layout", text: layoutWgsl }, elements, { elements, rows, columns })] };
}

export const nchwToNhwcKernel: LayoutKernel = {
  name: "nchw-to-nhwc",
  inputs: { x: { rank: 4 } },
  infer({ x: { shape: [n, c, height, width] } }) {
    return { y: f32([n!, height!, width!, c!]) };
  },
  plan: (context) => planLayout(context, true),
  cost: () => ({ flops: 0 }),
  gradient: ({ y: dy }, { g }) => ({ x: dy && nhwcToNchw(g, dy) }),
};

export const nhwcToNchwKernel: LayoutKernel = {
  name: "nhwc-to-nchw",
  inputs: { x: { rank: 4 } },
  infer({ x: { shape: [n, height, width, c] } }) {
    return { y: f32([n!, c!, height!, width!]) };
  },
  plan: (context) => planLayout(context, false),
  cost: () => ({ flops: 0 }),
  gradient: ({ y: dy }, { g }) => ({ x: dy && nchwToNhwc(g, dy) }),
};

/** `x` [batch, C, height, width] (f32) -> [batch, height, width, C]. @throws ShapeError if x has not 4 dimensions. */
export function nchwToNhwc(g: Recorder, x: Value): Value {
  return g.apply(nchwToNhwcKernel, { x }, {}).y;
}

/** `x` [batch, height, width, C] (f32) -> [batch, C, height, width]. @throws ShapeError if x has not 4 dimensions. */
export function nhwcToNchw(g: Recorder, x: Value): Value {
  return g.apply(nhwcToNchwKernel, { x }, {}).y;
}
