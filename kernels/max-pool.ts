import maxPoolWgsl from "../shaders/max-pool.wgsl";
import maxPoolGradientWgsl from "../shaders/max-pool-gradient.wgsl";
import {
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

export type PoolAttributes = { readonly kernel: number; readonly stride: number; readonly padding: number };

function pooled(op: string, x: TensorType, { kernel, stride, padding }: PoolAttributes): TensorType {
  if (![kernel, stride, padding].every(Number.isInteger) || kernel < 1 || stride < 1 || padding < 0 || padding * 2 > kernel) {
    throw new ShapeError(
      op,
      `kernel ${kernel}, stride ${stride}, padding ${padding}: kernel and stride must be positive and padding at most half the kernel`,
    );
  }
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const out = (n: number): number => Math.floor((n + 2 * padding - kernel) / stride) + 1;
  if (out(height) < 1 || out(width) < 1) {
    throw new ShapeError(op, `a window of ${kernel} with padding ${padding} does not fit into ${formatType(x)}`);
  }
  return f32([batch, out(height), out(width), channels]);
}

function poolParams(x: TensorType, y: TensorType, elements: number, lanes: number, attributes: PoolAttributes): Record<string, number> {
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const { kernel, stride, padding } = attributes;
  return {
    elements: elements / lanes,
    channels: channels / lanes,
    height,
    width,
    outHeight: y.shape[1]!,
    outWidth: y.shape[2]!,
    size: kernel,
    stride,
    padding,
  };
}

export const maxPoolKernel: Kernel<PoolAttributes> = {
  name: "max-pool",
  infer: (inputs, attributes) => [pooled("max-pool", need("max-pool", inputs, 0, "x", 4), attributes)],
  plan({ inputs, outputs, attributes }) {
    const [x, y] = [inputs[0]!, outputs[0]!];
    const lanes = lanesFor(x.shape[3]!);
    const params = poolParams(x, y, elementCount(y.shape), lanes, attributes);
    return {
      dispatches: [
        perElement(
          { name: "max-pool", text: maxPoolWgsl },
          params["elements"]!,
          { VEC4: lanes === 4 },
          { x: { input: 0 }, y: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: (_, [y], { kernel }) => ({ flops: elementCount(y!.shape) * kernel * kernel }),
  gradient([dy], { g, inputs, outputs, attributes }) {
    return [dy && g.apply(maxPoolGradientKernel, [inputs[0], outputs[0], dy], attributes)[0]];
  },
};

export const maxPoolGradientKernel: Kernel<PoolAttributes> = {
  name: "max-pool-gradient",
  infer(inputs, attributes) {
    const x = need("max-pool-gradient", inputs, 0, "x", 4);
    const y = need("max-pool-gradient", inputs, 1, "y", 4);
    const dy = need("max-pool-gradient", inputs, 2, "dy", 4);
    const expected = pooled("max-pool-gradient", x, attributes);
    for (const [name, type] of [
      ["y", y],
      ["dy", dy],
    ] as const) {
      if (!sameShape(type.shape, expected.shape)) {
        throw new ShapeError(
          "max-pool-gradient",
          `${name} is ${formatType(type)}, expected ${formatType(expected)} for x ${formatType(x)}`,
        );
      }
    }
    return [x];
  },
  plan({ inputs, outputs, attributes }) {
    const [x, y] = [inputs[0]!, inputs[1]!];
    const lanes = lanesFor(x.shape[3]!);
    const params = poolParams(x, y, elementCount(outputs[0]!.shape), lanes, attributes);
    const bindings = { x: { input: 0 }, y: { input: 1 }, dy: { input: 2 }, dx: { output: 0 } };
    return {
      dispatches: [
        perElement({ name: "max-pool-gradient", text: maxPoolGradientWgsl }, params["elements"]!, { VEC4: lanes === 4 }, bindings, params),
      ],
    };
  },
  cost: (inputs, _, { kernel }) => ({ flops: elementCount(inputs[2]!.shape) * kernel * kernel }),
};

/**
 * Largest of each kernel x kernel window of `x` [batch, height, width, C] (f32), with `padding` pixels of -infinity on every side ->
 * [batch, floor((height + 2 * padding - kernel) / stride) + 1, .., C]. A tie's gradient goes to the first pixel in row-major order, as in
 * torch.nn.MaxPool2d.
 * @throws ShapeError if padding is above half the kernel or no window fits.
 */
export function maxPool(g: Recorder, x: Value, attributes: PoolAttributes): Value {
  return g.apply(maxPoolKernel, [x], attributes)[0]!;
}
