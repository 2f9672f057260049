import { concat } from "../../kernels/concat.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { maxPool } from "../../kernels/max-pool.ts";
import { slice } from "../../kernels/slice.ts";
import { upsampleNearest } from "../../kernels/upsample.ts";
import { InputError } from "../runtime/errors.ts";
import type { Layers } from "../nn/layers.ts";

/** Pixels between neighbouring anchors on each of the three levels. */
export const YOLO_STRIDES = [8, 16, 32] as const;

/** Picture sides must be multiples of this. */
export const YOLO_GRAIN = 32;

/** What one level predicts for each anchor, before any decoding. */
export interface YoloLevel {
  /** Logits of the box sides' distances [B, h, w, 4 * bins]: left, top, right, bottom. */
  readonly sides: Value;
  /** Logits of the classes [B, h, w, classes]. */
  readonly classes: Value;
}

/**
 * YOLOv8's detector of any width and depth (n, s, m, ...), batch norms fused, with ultralytics' names (`model.0.conv`, ... `model.22`):
 * image [B, H, W, 3] in [0, 1], sides multiples of 32, to the raw predictions of strides 8, 16 and 32. Widths and depths are those of the
 * weights.
 * Source: ultralytics' cfg/models/v8/yolov8.yaml, nn/modules/block.py and head.py.
 * @throws ShapeError for a picture of another form; InputError for weights of another architecture
 */
export function yolov8(layers: Layers, image: Value): YoloLevel[] {
  const [, height = 0, width = 0] = image.type.shape;
  if (image.type.shape.length !== 4 || height % YOLO_GRAIN !== 0 || width % YOLO_GRAIN !== 0) {
    throw new ShapeError(
      "yolov8",
      `image must be [batch, height, width, 3] with sides that are multiples of ${YOLO_GRAIN}, got ${formatType(image.type)}`,
    );
  }
  const { g } = layers;
  return layers.at("model", () => {
    const down = (name: string, x: Value): Value => convolution(layers, name, x, { kernel: 3, stride: 2 });
    const upTo = (x: Value, skip: Value): Value => concat(g, upsampleNearest(g, x), skip);
    const p2 = c2f(layers, "2", down("1", down("0", image)), true);
    const p3 = c2f(layers, "4", down("3", p2), true);
    const p4 = c2f(layers, "6", down("5", p3), true);
    const p5 = spatialPyramid(layers, "9", c2f(layers, "8", down("7", p4), true));
    const up4 = c2f(layers, "12", upTo(p5, p4), false);
    const out3 = c2f(layers, "15", upTo(up4, p3), false);
    const out4 = c2f(layers, "18", concat(g, down("16", out3), up4), false);
    const out5 = c2f(layers, "21", concat(g, down("19", out4), p5), false);
    return [out3, out4, out5].map((x, level) => ({
      sides: head(layers, `22.cv2.${level}`, x),
      classes: head(layers, `22.cv3.${level}`, x),
    }));
  });
}

/** Output channels of a convolution as stored. @throws InputError unless its weight is [any, in, kernel, kernel] */
function outputChannels(layers: Layers, name: string, x: Value, kernel: number): number {
  const path = [layers.g.modulePath, name, "weight"].join(".");
  const stored = layers.parameters.storedShape(path);
  const input = x.type.shape[3]!;
  if (stored.length !== 4 || stored[1] !== input || stored[2] !== kernel || stored[3] !== kernel) {
    throw new InputError(
      `tensor "${path}" has shape [${stored.join(",")}], YOLOv8's is [any,${input},${kernel},${kernel}]: the detector is of another ` +
        "architecture",
    );
  }
  return stored[0]!;
}

/** Convolution with its batch norm fused, and SiLU. */
function convolution(
  layers: Layers,
  name: string,
  x: Value,
  { kernel = 1, stride = 1, residual }: { kernel?: number; stride?: number; residual?: Value | undefined } = {},
): Value {
  return layers.at(name, () =>
    layers.conv("conv", x, outputChannels(layers, "conv", x, kernel), { kernel, stride, activation: "silu", residual }),
  );
}

/** C2f: half of the channels pass through a chain of bottlenecks, every link of which is kept for the last convolution. */
function c2f(layers: Layers, name: string, x: Value, shortcut: boolean): Value {
  const { g } = layers;
  return layers.at(name, () => {
    let all = convolution(layers, "cv1", x);
    const hidden = all.type.shape[3]! / 2;
    if (!Number.isInteger(hidden)) {
      throw new InputError(`"${g.modulePath}.cv1" has an odd number of channels: the detector is of another architecture`);
    }
    let last = slice(g, all, hidden, hidden);
    for (let i = 0; layers.has(`m.${i}.cv1.conv.weight`); i++) {
      const input = last;
      last = layers.at(`m.${i}`, () => {
        const inner = convolution(layers, "cv1", input, { kernel: 3 });
        return convolution(layers, "cv2", inner, { kernel: 3, residual: shortcut ? input : undefined });
      });
      all = concat(g, all, last);
    }
    return convolution(layers, "cv2", all);
  });
}

/** SPPF: maxima of windows of 5, 9 and 13 by pooling three times. */
function spatialPyramid(layers: Layers, name: string, x: Value): Value {
  const { g } = layers;
  return layers.at(name, () => {
    let last = convolution(layers, "cv1", x);
    let all = last;
    for (let i = 0; i < 3; i++) {
      last = maxPool(g, last, { kernel: 5, stride: 1, padding: 2 });
      all = concat(g, all, last);
    }
    return convolution(layers, "cv2", all);
  });
}

function head(layers: Layers, name: string, x: Value): Value {
  return layers.at(name, () => {
    const h = convolution(layers, "1", convolution(layers, "0", x, { kernel: 3 }), { kernel: 3 });
    return layers.conv("2", h, outputChannels(layers, "2", h, 1), { kernel: 1 });
  });
}
