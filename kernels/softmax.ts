import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { packCount, packDefines, planRows } from "./rows.ts";
import softmaxWgsl from "../shaders/softmax.wgsl";
import softmaxGradientWgsl from "../shaders/softmax-gradient.wgsl";

export const softmaxKernel: Kernel<Record<string, never>> = {
  name: "softmax",
  infer(inputs) {
    const x = need("softmax", inputs, 0, "x");
    if (x.shape.length === 0) throw new ShapeError("softmax", `x must have a last dimension, got ${formatType(x)}`);
    return [x];
  },
  plan({ inputs, capabilities }) {
    const { shape } = inputs[0]!;
    const width = shape.at(-1)!;
    const rows = elementCount(shape.slice(0, -1));
    const { defines, workgroups } = planRows(capabilities, rows, width);
    return {
      dispatches: [
        {
          shader: { name: "softmax", text: softmaxWgsl },
          defines: { ...defines, ...packDefines(width) },
          bindings: { x: { input: 0 }, y: { output: 0 } },
          params: { rows, width: packCount(width) },
          workgroups,
        },
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) * 22 }),
  gradient: ([dy], { g, outputs }) => [dy && g.apply(softmaxGradientKernel, [dy, outputs[0]!], {})[0]!],
};

export const softmaxGradientKernel: Kernel<Record<string, never>> = {
  name: "softmax-gradient",
  infer(inputs) {
    const dy = need("softmax-gradient", inputs, 0, "dy");
    const y = need("softmax-gradient", inputs, 1, "y");
    if (!sameShape(dy.shape, y.shape)) {
      throw new ShapeError("softmax-gradient", `dy ${formatType(dy)} and y ${formatType(y)} must have one shape`);
    }
    return [y];
  },
  plan({ inputs, capabilities }) {
    const { shape } = inputs[1]!;
    const width = shape.at(-1)!;
    const rows = elementCount(shape.slice(0, -1));
    const { defines, workgroups } = planRows(capabilities, rows, width);
    return {
      dispatches: [
        {
          shader: { name: "softmax-gradient", text: softmaxGradientWgsl },
          defines: { ...defines, ...packDefines(width) },
          bindings: { dy: { input: 0 }, y: { input: 1 }, dx: { output: 0 } },
          params: { rows, width: packCount(width) },
          workgroups,
        },
      ],
    };
  },
  cost: ([dy]) => ({ flops: elementCount(dy!.shape) * 4 }),
};

/** Softmax over the last dimension of x; f32, any shape and width. @throws ShapeError for a tensor without dimensions. */
export function softmax(g: Recorder, x: Value): Value {
  return g.apply(softmaxKernel, [x], {})[0]!;
}
