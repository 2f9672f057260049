/** Plain float64 references of the spatial ops: loops over the definition. Images are [batch, height, width, channels]. */
import type { Array64 } from "../array64.ts";

type Dims4 = [number, number, number, number];

function make(shape: readonly number[]): Array64 {
  return { shape, data: new Float64Array(shape.reduce((a, b) => a * b, 1)) };
}

/** The source pixel of nearest-neighbour resizing, in float32 as torch computes it. */
function source(i: number, size: number, outSize: number): number {
  return Math.min(size - 1, Math.floor(Math.fround(i * Math.fround(size / outSize))));
}

export function upsampleReference(x: Array64, outHeight: number, outWidth: number): Array64 {
  const [batch, height, width, channels] = x.shape as Dims4;
  const y = make([batch, outHeight, outWidth, channels]);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        const from = ((b * height + source(i, height, outHeight)) * width + source(j, width, outWidth)) * channels;
        for (let c = 0; c < channels; c++) y.data[at++] = x.data[from + c]!;
      }
    }
  }
  return y;
}

/** Slices or pads one axis: entry i of the output is entry i + start of the input, 0 outside. */
export function windowReference(x: Array64, axis: number, start: number, count: number): Array64 {
  const y = make(x.shape.map((d, i) => (i === axis ? count : d)));
  const inner = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = x.shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const size = x.shape[axis]!;
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < count; i++) {
      if (i + start < 0 || i + start >= size) continue;
      for (let k = 0; k < inner; k++) y.data[(o * count + i) * inner + k] = x.data[(o * size + i + start) * inner + k]!;
    }
  }
  return y;
}

export function concatReference(a: Array64, b: Array64, axis: number): Array64 {
  const countA = a.shape[axis]!;
  const total = countA + b.shape[axis]!;
  const left = windowReference(a, axis, 0, total);
  const right = windowReference(b, axis, -countA, total);
  return { shape: left.shape, data: left.data.map((v, i) => v + right.data[i]!) };
}

/** What `of` makes of the pixels in each window of a picture, those outside of it left out. */
function pooled(
  x: Array64,
  { kernel, stride, padding }: { readonly kernel: number; readonly stride: number; readonly padding: number },
  of: (values: readonly number[]) => number,
): Array64 {
  const [batch, height, width, channels] = x.shape as Dims4;
  const [outHeight, outWidth] = [height, width].map((size) => Math.floor((size + 2 * padding - kernel) / stride) + 1) as [number, number];
  const y = make([batch, outHeight, outWidth, channels]);
  y.data.forEach((_, at) => {
    const [c, j, i] = [at % channels, Math.floor(at / channels) % outWidth, Math.floor(at / channels / outWidth) % outHeight];
    const b = Math.floor(at / channels / outWidth / outHeight);
    const values: number[] = [];
    for (let r = i * stride - padding; r < i * stride - padding + kernel; r++) {
      for (let s = j * stride - padding; s < j * stride - padding + kernel; s++) {
        if (r >= 0 && r < height && s >= 0 && s < width) values.push(x.data[((b * height + r) * width + s) * channels + c]!);
      }
    }
    y.data[at] = of(values);
  });
  return y;
}

export function maxPoolReference(x: Array64, kernel: number, stride: number, padding: number): Array64 {
  return pooled(x, { kernel, stride, padding }, (values) => Math.max(...values));
}

/** Stride 1, padded by half the window; pixels outside count as zeros or not at all. */
export function averagePool2dReference(x: Array64, kernel: number, countPadding: boolean): Array64 {
  const mean = (values: readonly number[]): number =>
    values.reduce((a, b) => a + b, 0) / (countPadding ? kernel * kernel : values.length);
  return pooled(x, { kernel, stride: 1, padding: (kernel - 1) / 2 }, mean);
}

export function averagePoolReference(x: Array64): Array64 {
  const [batch, height, width, channels] = x.shape as Dims4;
  const y = make([batch, channels]);
  for (let b = 0; b < batch; b++) {
    for (let p = 0; p < height * width; p++) {
      for (let c = 0; c < channels; c++) y.data[b * channels + c]! += x.data[(b * height * width + p) * channels + c]! / (height * width);
    }
  }
  return y;
}
