import { averagePool2d } from "../../kernels/average-pool-2d.ts";
import { averagePool } from "../../kernels/average-pool.ts";
import { joinColumns } from "../../kernels/columns.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { maxPool } from "../../kernels/max-pool.ts";
import type { Layers } from "../nn/layers.ts";

/** FID's network, ported from TensorFlow's of 2015, and torchvision's classifier. */
export const INCEPTION_VARIANTS = ["fid", "torchvision"] as const;
export type InceptionVariant = (typeof INCEPTION_VARIANTS)[number];

/** Classes of the last layer, by which the two files are told apart. */
export const INCEPTION_CLASSES: Readonly<Record<InceptionVariant, number>> = { fid: 1008, torchvision: 1000 };

/** Widths of the features that are in use: after the first and the second max pool, Mixed_6e, and pool3. */
export const INCEPTION_DIMS = [64, 192, 768, 2048] as const;
export type InceptionDims = (typeof INCEPTION_DIMS)[number];

/** Pixels on a side that the network was trained with, and that every recipe gives it. */
export const INCEPTION_SIZE = 299;

export interface InceptionOutputs {
  /** By width: means over all positions, [B, width]. */
  readonly features: Readonly<Record<InceptionDims, Value>>;
  /** [B, classes] */
  readonly logits: Value;
}

type Window = { readonly kernel?: number | readonly [number, number]; readonly stride?: number; readonly padding?: number };

/** Valid padding, as most of the stem's convolutions and all that make the picture smaller have. */
const VALID = { padding: 0 } as const;
/** A window that halves the picture. */
const HALVING = { stride: 2, ...VALID } as const;

/**
 * Inception v3 in inference: image [B, 299, 299, 3], normalised as its recipe says, to its features and logits. Convolutions have their
 * batch norms folded in (`foldBatchNorm`). Captures the output of every block and branch under torchvision's names.
 * Source: torchvision 0.14 models/inception.py; for "fid" the blocks of pytorch-fid 0.3.0 inception.py:197-341.
 * @throws ShapeError for a picture of another form
 */
export function inceptionV3(layers: Layers, variant: InceptionVariant, image: Value): InceptionOutputs {
  const sides = image.type.shape.slice(1);
  if (sides.join() !== `${INCEPTION_SIZE},${INCEPTION_SIZE},3`) {
    throw new ShapeError("inceptionV3", `image must be [batch, ${INCEPTION_SIZE}, ${INCEPTION_SIZE}, 3], got ${formatType(image.type)}`);
  }
  const { g } = layers;
  const blocks = new Blocks(layers, variant);
  const halved = (name: string, x: Value): Value => layers.at(name, () => blocks.shrink(x));
  let x = blocks.conv("Conv2d_1a_3x3", image, 32, HALVING);
  x = blocks.conv("Conv2d_2a_3x3", x, 32, VALID);
  x = blocks.conv("Conv2d_2b_3x3", x, 64);
  const first = (x = halved("maxpool1", x));
  x = blocks.conv("Conv2d_3b_1x1", x, 80, { kernel: 1 });
  x = blocks.conv("Conv2d_4a_3x3", x, 192, VALID);
  const second = (x = halved("maxpool2", x));
  for (const [name, poolWidth] of [["5b", 32], ["5c", 64], ["5d", 64]] as const) x = blocks.a(`Mixed_${name}`, x, poolWidth);
  x = blocks.b("Mixed_6a", x);
  for (const [name, width] of [["6b", 128], ["6c", 160], ["6d", 160], ["6e", 192]] as const) x = blocks.c(`Mixed_${name}`, x, width);
  const third = x;
  x = blocks.d("Mixed_7a", x);
  x = blocks.e("Mixed_7b", x, "average");
  x = blocks.e("Mixed_7c", x, variant === "fid" ? "max" : "average");
  const pool3 = layers.at("avgpool", () => averagePool(g, x));
  return {
    features: { 64: averagePool(g, first), 192: averagePool(g, second), 768: averagePool(g, third), 2048: pool3 },
    logits: layers.linear("fc", pool3, INCEPTION_CLASSES[variant]),
  };
}

/** torchvision's InceptionA to InceptionE, which differ between the two networks in how their pool branch averages. */
class Blocks {
  constructor(
    private readonly layers: Layers,
    private readonly variant: InceptionVariant,
  ) {}

  /** BasicConv2d: convolution, batch norm, ReLU. */
  conv(name: string, x: Value, out: number, window: Window = {}): Value {
    const { layers } = this;
    return layers.at(name, () => layers.conv("conv", x, out, { ...window, activation: "relu" }));
  }

  shrink(x: Value): Value {
    return maxPool(this.layers.g, x, { kernel: 3, stride: 2, padding: 0 });
  }

  private average(x: Value): Value {
    return averagePool2d(this.layers.g, x, { kernel: 3, countPadding: this.variant === "torchvision" });
  }

  private join(name: string, branches: () => Value[]): Value {
    return this.layers.at(name, () => joinColumns(this.layers.g, branches()));
  }

  /** Convolutions one after the other: `name_1`, `name_2`, ... */
  private chain(name: string, x: Value, steps: readonly (readonly [out: number, window: Window])[]): Value {
    return steps.reduce((h, [out, window], i) => this.conv(`${name}_${i + 1}`, h, out, window), x);
  }

  a(name: string, x: Value, poolWidth: number): Value {
    return this.join(name, () => [
      this.conv("branch1x1", x, 64, POINT),
      this.chain("branch5x5", x, [[48, POINT], [64, { kernel: 5 }]]),
      this.chain("branch3x3dbl", x, [[64, POINT], [96, {}], [96, {}]]),
      this.conv("branch_pool", this.average(x), poolWidth, POINT),
    ]);
  }

  b(name: string, x: Value): Value {
    return this.join(name, () => [
      this.conv("branch3x3", x, 384, HALVING),
      this.chain("branch3x3dbl", x, [[64, POINT], [96, {}], [96, HALVING]]),
      this.shrink(x),
    ]);
  }

  c(name: string, x: Value, width: number): Value {
    return this.join(name, () => [
      this.conv("branch1x1", x, 192, POINT),
      this.chain("branch7x7", x, [[width, POINT], [width, ROW], [192, COLUMN]]),
      this.chain("branch7x7dbl", x, [[width, POINT], [width, COLUMN], [width, ROW], [width, COLUMN], [192, ROW]]),
      this.conv("branch_pool", this.average(x), 192, POINT),
    ]);
  }

  d(name: string, x: Value): Value {
    return this.join(name, () => [
      this.chain("branch3x3", x, [[192, POINT], [320, HALVING]]),
      this.chain("branch7x7x3", x, [[192, POINT], [192, ROW], [192, COLUMN], [192, HALVING]]),
      this.shrink(x),
    ]);
  }

  e(name: string, x: Value, pool: "average" | "max"): Value {
    return this.join(name, () => {
      const wide = this.conv("branch3x3_1", x, 384, POINT);
      const double = this.chain("branch3x3dbl", x, [[448, POINT], [384, {}]]);
      const pooled = pool === "max" ? maxPool(this.layers.g, x, { kernel: 3, stride: 1, padding: 1 }) : this.average(x);
      return [
        this.conv("branch1x1", x, 320, POINT),
        this.conv("branch3x3_2a", wide, 384, { kernel: [1, 3] }),
        this.conv("branch3x3_2b", wide, 384, { kernel: [3, 1] }),
        this.conv("branch3x3dbl_3a", double, 384, { kernel: [1, 3] }),
        this.conv("branch3x3dbl_3b", double, 384, { kernel: [3, 1] }),
        this.conv("branch_pool", pooled, 192, POINT),
      ];
    });
  }
}

const POINT: Window = { kernel: 1 };
const ROW: Window = { kernel: [1, 7] };
const COLUMN: Window = { kernel: [7, 1] };
