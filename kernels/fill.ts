import { type Kernel, type Recorder, type Shape, type Value, elementCount, f32, spread } from "./kernel.ts";
import fillWgsl from "../shaders/fill.wgsl";

const WORKGROUP = 64;

/** No inputs; every element is `value`. */
export const fillKernel: Kernel<{ shape: readonly number[]; value: number }> = {
  name: "fill",
  infer: (_inputs, { shape }) => [f32(shape)],
  plan({ outputs, attributes }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "fill", text: fillWgsl },
          defines: {},
          bindings: { y: { output: 0 } },
          params: { count, value: attributes.value },
          workgroups: spread(Math.ceil(count / WORKGROUP)),
        },
      ],
    };
  },
  gradient: () => [],
};

/** A tensor of one number; f32. */
export function fill(g: Recorder, shape: Shape, value: number): Value {
  return g.apply(fillKernel, [], { shape: [...shape], value })[0]!;
}
