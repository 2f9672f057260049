import { activation } from "../../kernels/activation.ts";
import { concat } from "../../kernels/concat.ts";
import { conv2d } from "../../kernels/conv2d.ts";
import { groupNormParts } from "../../kernels/group-norm-parts.ts";
import { type Value, byteLength } from "../../kernels/kernel.ts";
import { slice } from "../../kernels/slice.ts";
import { upsampleNearest } from "../../kernels/upsample.ts";
import type { Layers } from "./layers.ts";

/**
 * A picture [B, H, W, C] held as bands of rows, top to bottom, because as one tensor it would be larger than a device binds
 * (a VAE's last stage at 512 x 512 has 256 MiB; many devices bind 128). One band is the common case and costs nothing.
 */
export type Bands = readonly [Value, ...Value[]];

export interface NormOptions {
  readonly groups: number;
  readonly epsilon: number;
  readonly silu?: boolean;
}

/**
 * The layers of a convolutional net on bands. A convolution reads the rows it needs from the neighbouring bands, so results do not depend
 * on the banding.
 */
export class BandedLayers {
  /** @param maxBytes the largest tensor to make */
  constructor(readonly layers: Layers, private readonly maxBytes: number) {}

  /**
   * Records `body` below the module path `name` and captures the picture it returns under that path, several bands as `name.[0]` and so on.
   */
  at(name: string, body: () => Bands): Bands {
    return this.layers.at(name, () => {
      const y = body();
      y.forEach((band, i) => this.layers.g.capture(y.length === 1 ? "" : `[${i}]`, band));
      return y;
    });
  }

  /** As `Layers.conv`; padding top, bottom, left, right. */
  conv(
    name: string,
    x: Bands,
    out: number,
    options: { kernel?: number; stride?: number; padding?: readonly [number, number, number, number]; residual?: Bands } = {},
  ): Bands {
    const { kernel = 3, stride = 1, residual } = options;
    const half = (kernel - 1) >> 1;
    const [top, bottom, left, right] = options.padding ?? [half, half, half, half];
    if (x.length === 1) {
      const [only] = x;
      const [, height, width] = only.type.shape as [number, number, number];
      const size =
        only.type.shape[0]! *
        (Math.floor((height + top + bottom - kernel) / stride) + 1) *
        (Math.floor((width + left + right - kernel) / stride) + 1) *
        out *
        4;
      if (size <= this.maxBytes) {
        return [this.layers.conv(name, only, out, { kernel, stride, padding: [top, bottom, left, right], residual: residual?.[0] })];
      }
    }
    const { g } = this.layers;
    const [batch, , width, channels] = x[0].type.shape as [number, number, number, number];
    const height = rowsOf(x);
    const outHeight = Math.floor((height + top + bottom - kernel) / stride) + 1;
    const outWidth = Math.floor((width + left + right - kernel) / stride) + 1;
    return this.at(name, () => {
      const weight = this.layers.weight("weight", [out, channels, kernel, kernel], "conv");
      const bias = this.layers.weight("bias", [out]);
      return this.eachBand(x, batch, outHeight, outWidth, out, (start, end) => {
        const from = start * stride - top;
        const to = (end - 1) * stride - top + kernel;
        const padding = [Math.max(0, -from), Math.max(0, to - height), left, right] as const;
        return conv2d(g, this.rows(x, Math.max(0, from), Math.min(height, to)), weight, {
          bias,
          stride,
          padding,
          residual: residual && this.rows(residual, start, end),
        });
      });
    });
  }

  /** As `Layers.groupNorm` of the whole picture: the bands' statistics are merged. */
  groupNorm(name: string, x: Bands, options: NormOptions): Bands {
    if (x.length === 1) return [this.layers.groupNorm(name, x[0], options)];
    const { g, fused } = this.layers;
    const { silu = false, ...norm } = options;
    const channels = x[0].type.shape[3]!;
    const y = this.at(name, () =>
      bands(
        groupNormParts(g, x, this.layers.weight("weight", [channels]), this.layers.weight("bias", [channels]), {
          ...norm,
          silu: silu && fused,
        }),
      ),
    );
    return silu && !fused ? bands(y.map((band) => activation(g, band, "silu"))) : y;
  }

  /** Nearest neighbour, doubled. */
  double(x: Bands): Bands {
    const [batch, , width, channels] = x[0].type.shape as [number, number, number, number];
    return this.eachBand(x, batch, 2 * rowsOf(x), 2 * width, channels, (start, end) => {
      const [from, to] = [start >> 1, (end + 1) >> 1];
      const doubled = upsampleNearest(this.layers.g, this.rows(x, from, to));
      return slice(this.layers.g, doubled, start - 2 * from, end - start, 1);
    });
  }

  /** One value, where it is small enough to be one. */
  join(x: Bands): Value {
    return this.rows(x, 0, rowsOf(x));
  }

  /** Rows [from, to) as one tensor, put together from the bands they lie in. */
  private rows(x: Bands, from: number, to: number): Value {
    let start = 0;
    let joined: Value | undefined;
    for (const band of x) {
      const end = start + band.type.shape[1]!;
      const [a, b] = [Math.max(from, start), Math.min(to, end)];
      if (a < b) {
        const part = slice(this.layers.g, band, a - start, b - a, 1);
        joined = joined ? concat(this.layers.g, joined, part, 1) : part;
      }
      start = end;
    }
    return joined!;
  }

  /** Makes the rows of a picture band by band, so that neither it nor what is read of x is too large. */
  private eachBand(
    x: Bands,
    batch: number,
    height: number,
    width: number,
    channels: number,
    make: (start: number, end: number) => Value,
  ): Bands {
    const bytes = Math.max(bytesOf(x), byteLength({ shape: [batch, height, width, channels], dtype: "f32" }));
    // Half of what fits, since a band is read together with a few rows of its neighbours.
    const count = bytes <= this.maxBytes ? 1 : Math.ceil(bytes / (this.maxBytes / 2));
    const perBand = Math.max(1, Math.ceil(height / count));
    const made: Value[] = [];
    for (let start = 0; start < height; start += perBand) made.push(make(start, Math.min(height, start + perBand)));
    return bands(made);
  }
}

function bands(list: readonly Value[]): Bands {
  return list as [Value, ...Value[]];
}

function bytesOf(x: Bands): number {
  return x.reduce((n, band) => n + byteLength(band.type), 0);
}

function rowsOf(x: Bands): number {
  return x.reduce((n, band) => n + band.type.shape[1]!, 0);
}
