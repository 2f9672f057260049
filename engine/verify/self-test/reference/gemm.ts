import type { Array64 } from "../array64.ts";

/** a [..., M, K] times b [K, N] or [..., K, N], or with transposeB [.., N, K], in float64. */
export function matmul64(a: Array64, b: Array64, transposeB: boolean): Array64 {
  const [m, k] = a.shape.slice(-2) as [number, number];
  const n = b.shape.at(transposeB ? -2 : -1)!;
  const batches = a.data.length / (m * k);
  const stride = b.shape.length === 2 ? 0 : k * n;
  const data = new Float64Array(batches * m * n);
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) {
          sum += a.data[(batch * m + i) * k + l]! * b.data[batch * stride + (transposeB ? j * k + l : l * n + j)]!;
        }
        data[(batch * m + i) * n + j] = sum;
      }
    }
  }
  return { shape: [...a.shape.slice(0, -1), n], data };
}

/** x [B, H, W, C] convolved with w [kh, kw, C, N] plus bias, padding top, bottom, left, right, in float64. */
export function conv2d64(
  x: Array64,
  w: Array64,
  bias: Array64 | undefined,
  stride: number,
  [top, bottom, left, right]: readonly number[],
): Array64 {
  const [batch, height, width, c] = x.shape as [number, number, number, number];
  const [kh, kw, , n] = w.shape as [number, number, number, number];
  const oh = Math.floor((height + top! + bottom! - kh) / stride) + 1;
  const ow = Math.floor((width + left! + right! - kw) / stride) + 1;
  const data = new Float64Array(batch * oh * ow * n);
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < oh; oy++) {
      for (let ox = 0; ox < ow; ox++) {
        for (let o = 0; o < n; o++) {
          let sum = bias ? bias.data[o]! : 0;
          for (let ky = 0; ky < kh; ky++) {
            for (let kx = 0; kx < kw; kx++) {
              const [y, z] = [oy * stride + ky - top!, ox * stride + kx - left!];
              if (y < 0 || z < 0 || y >= height || z >= width) continue;
              for (let i = 0; i < c; i++) {
                sum += x.data[((b * height + y) * width + z) * c + i]! * w.data[((ky * kw + kx) * c + i) * n + o]!;
              }
            }
          }
          data[((b * oh + oy) * ow + ox) * n + o] = sum;
        }
      }
    }
  }
  return { shape: [batch, oh, ow, n], data };
}
