import { conv2d, conv2dGradientKernel } from "../../../kernels/conv2d.ts";
import type { GemmClass } from "../../../kernels/gemm-table.ts";
import { type TensorType, f32 } from "../../../kernels/kernel.ts";
import { layerNorm } from "../../../kernels/layer-norm.ts";
import { matmul } from "../../../kernels/matmul.ts";
import { softmax } from "../../../kernels/softmax.ts";
import type { ProbeClass, Sample } from "./kernel-probe.ts";

function weight(shape: readonly number[]): TensorType {
  return { shape, dtype: "f32", layout: "panels" };
}

function linear(rows: number, k: number, n: number): Sample {
  return { inputs: { x: f32([rows, k]), w: weight([k, n]) }, build: (g, { x, w }) => matmul(g, x!, w!) };
}

/** A linear layer's gradient for its input: its weight read transposed. */
function linearGradient(rows: number, k: number, n: number): Sample {
  return { inputs: { dy: f32([rows, n]), w: weight([k, n]) }, build: (g, { dy, w }) => matmul(g, dy!, w!, { transposeB: true }) };
}

function convolution(height: number, width: number, k: number, n: number): Sample {
  return { inputs: { x: f32([1, height, width, k]), w: weight([3, 3, k, n]) }, build: (g, { x, w }) => conv2d(g, x!, w!, { padding: 1 }) };
}

function convolutionGradient(height: number, width: number, k: number, n: number): Sample {
  const attributes = { stride: 1, padding: [1, 1, 1, 1], inputShape: [1, height, width, k] };
  return {
    inputs: { dy: f32([1, height, width, n]), w: weight([3, 3, k, n]) },
    build: (g, { dy, w }) => g.apply(conv2dGradientKernel, { dy: dy!, weight: w! }, attributes).dx,
  };
}

/**
 * A product of sizes that no tile divides, with everything fused; k below a step, between two steps, or of so many that they are shared.
 */
function fusedProduct(k: number): Sample {
  return {
    inputs: { x: f32([131, k]), w: weight([k, 96]), bias: f32([96]), residual: f32([131, 96]) },
    build: (g, { x, w, bias, residual }) => matmul(g, x!, w!, { bias, residual, scale: 0.7 }),
  };
}

/** A product with nothing in vec4s. */
function oddProduct(): Sample {
  return { inputs: { x: f32([5, 7]), w: f32([7, 5]) }, build: (g, { x, w }) => matmul(g, x!, w!) };
}

/**
 * What matrix products are probed with. The timed sizes are layers of the SD 1.4 UNet at latents of 64 x 64 (small: of 8 x 8, its inner
 * levels); on a software adapter, where those take seconds, its layers at latents of 16 x 16.
 */
export function gemmSamples(software: boolean): readonly ProbeClass<GemmClass>[] {
  // One object for each: what several classes share is checked once.
  const [short, long, convolved] = [fusedProduct(36), fusedProduct(1004), convolution(5, 9, 36, 32)];
  const [shortGradient, longGradient, convolvedGradient] = [
    linearGradient(67, 36, 96), linearGradient(67, 36, 1024), convolutionGradient(5, 9, 36, 32),
  ];
  const unevenProduct = linearGradient(131, 96, 64);
  const [uneven, unevenGradient] = [convolution(13, 11, 20, 96), convolutionGradient(13, 11, 20, 96)];
  const row = (name: GemmClass, check: readonly Sample[], gpu: Sample, small = gpu): ProbeClass<GemmClass> => ({
    name, check,
    time: software ? small : gpu,
  });
  return [
    row("matmul small", [oddProduct(), short, long], linear(64, 1280, 1280)),
    row("matmul medium", [short, long], linear(256, 1280, 1280), linear(256, 320, 640)),
    row("matmul large", [short, long], linear(4096, 320, 2560), linear(512, 320, 2560)),
    row("matmul-transposed small", [shortGradient, longGradient], linearGradient(64, 1280, 1280)),
    row("matmul-transposed medium", [longGradient], linearGradient(256, 1280, 1280), linearGradient(256, 640, 320)),
    row("matmul-transposed large", [unevenProduct, longGradient], linearGradient(4096, 2560, 320), linearGradient(512, 2560, 320)),
    row("conv2d small", [convolved], convolution(8, 8, 1280, 1280), convolution(8, 8, 320, 320)),
    row("conv2d medium", [convolved], convolution(16, 16, 1280, 1280), convolution(16, 16, 128, 640)),
    row("conv2d large", [uneven], convolution(64, 64, 320, 320), convolution(64, 64, 64, 256)),
    row("conv2d-gradient small", [convolvedGradient], convolutionGradient(8, 8, 1280, 1280), convolutionGradient(8, 8, 320, 320)),
    row("conv2d-gradient medium", [convolvedGradient], convolutionGradient(16, 16, 1280, 1280), convolutionGradient(16, 16, 640, 128)),
    row("conv2d-gradient large", [unevenGradient], convolutionGradient(64, 64, 320, 320), convolutionGradient(64, 64, 256, 64)),
  ];
}

/**
 * Sums and maxima over rows, as in the norms and the softmax. A function, since what a call makes at the top stays in every bundle of the
 * library.
 */
export function rowSamples(): readonly ProbeClass<"rows">[] {
  const layer = (rows: number): Sample => ({
    inputs: { x: f32([rows, 320]), gamma: f32([320]), beta: f32([320]) },
    build: (g, { x, gamma, beta }) => layerNorm(g, x!, gamma!, beta!, { epsilon: 1e-5 }),
  });
  return [{ name: "rows", check: [{ inputs: { x: f32([37, 77]) }, build: (g, { x }) => softmax(g, x!) }, layer(37)], time: layer(4096) }];
}
