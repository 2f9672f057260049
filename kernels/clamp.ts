import clampWgsl from "../shaders/clamp.wgsl";
import clampGradientWgsl from "../shaders/clamp-gradient.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { perElement } from "./per-element.ts";

type Bounds = { readonly low: number; readonly high: number };

function checkBounds(op: string, { low, high }: Bounds): void {
  if (!(low <= high)) throw new ShapeError(op, `low ${low} must not be above high ${high}`);
}

export const clampKernel: Kernel<Bounds> = {
  name: "clamp",
  infer(inputs, bounds) {
    checkBounds("clamp", bounds);
    return [need("clamp", inputs, 0, "x")];
  },
  plan({ inputs, attributes: { low, high } }) {
    const vectors = Math.ceil(elementCount(inputs[0]!.shape) / 4);
    return {
      dispatches: [
        perElement({ name: "clamp", text: clampWgsl }, vectors, {}, { x: { input: 0 }, y: { output: 0 } }, { vectors, low, high }),
      ],
    };
  },
  cost: ([x]) => ({ flops: 2 * elementCount(x!.shape) }),
  gradient([dy], { g, inputs, attributes }) {
    return [dy && g.apply(clampGradientKernel, [inputs[0], dy], attributes)[0]];
  },
};

export const clampGradientKernel: Kernel<Bounds> = {
  name: "clamp-gradient",
  infer(inputs, bounds) {
    checkBounds("clamp-gradient", bounds);
    const x = need("clamp-gradient", inputs, 0, "x");
    const dy = need("clamp-gradient", inputs, 1, "dy");
    if (!sameShape(x.shape, dy.shape)) {
      throw new ShapeError("clamp-gradient", `x ${formatType(x)} and dy ${formatType(dy)} must have one shape`);
    }
    return [x];
  },
  plan({ inputs, attributes: { low, high } }) {
    const vectors = Math.ceil(elementCount(inputs[0]!.shape) / 4);
    const bindings = { x: { input: 0 }, dy: { input: 1 }, dx: { output: 0 } };
    return { dispatches: [perElement({ name: "clamp-gradient", text: clampGradientWgsl }, vectors, {}, bindings, { vectors, low, high })] };
  },
  cost: ([x]) => ({ flops: 2 * elementCount(x!.shape) }),
};

/**
 * hardtanh: `x` (f32, any shape) limited to [low, high]; the gradient passes strictly inside (torch.nn.functional.hardtanh).
 * The attack's straight-through estimator is this op applied to a cotangent: the gradient for a one-hot row is clamp(d, -1, 1) whatever was
 * drawn (Diffusion-MU-Attack, text_grad_.py).
 * @throws ShapeError if low is above high.
 */
export function clamp(g: Recorder, x: Value, low = -1, high = 1): Value {
  return g.apply(clampKernel, [x], { low, high })[0]!;
}
