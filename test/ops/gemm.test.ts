import { test } from "uvu";
import { conv2d } from "../../kernels/conv2d.ts";
import { matmul } from "../../kernels/matmul.ts";
import { checkOp } from "../support/op-test.ts";
import { plannedForGpu } from "../support/planning.ts";
import { finish } from "../support/device.ts";
import { conv2d64, matmul64 } from "../../engine/verify/self-test/reference/gemm.ts";
import { activations, map64 } from "../../engine/verify/self-test/reference/norm.ts";

const shapes = [
  { m: 1, k: 4, n: 4 },
  { m: 37, k: 20, n: 50 },
  { m: 64, k: 48, n: 48 },
  { m: 5, k: 7, n: 3 },
  { m: 33, k: 130, n: 66 },
  { m: 9, k: 8, n: 1 },
  { m: 300, k: 12, n: 4 },
  { m: 270, k: 7, n: 3 },
];
for (const { m, k, n } of shapes) {
  for (const transposeB of [false, true]) {
    test(`matmul ${m}x${k}x${n}${transposeB ? " transposed" : ""}`, () =>
      checkOp({
        name: "matmul",
        inputs: { a: { shape: [1, m, k] }, b: { shape: transposeB ? [n, k] : [k, n] } },
        build: (g, v) => matmul(g, v.a!, v.b!, { transposeB }),
        reference: ({ a, b }) => matmul64(a!, b!, transposeB),
        gradients: ["a", "b"],
      }));
  }
}

test("matmul, one B per batch, awkward sizes", () =>
  checkOp({
    name: "matmul",
    inputs: { a: { shape: [3, 37, 20] }, b: { shape: [3, 20, 11] } },
    build: (g, v) => matmul(g, v.a!, v.b!),
    reference: ({ a, b }) => matmul64(a!, b!, false),
    gradients: ["a", "b"],
  }));

for (const activation of ["none", "silu", "gelu", "quickGelu"] as const) {
  for (const n of [20, 13]) {
    test(`matmul epilogue: bias, ${activation}, residual, scale, ${n} columns`, () =>
      checkOp({
        name: "matmul",
        inputs: { a: { shape: [2, 9, 12] }, b: { shape: [12, n] }, bias: { shape: [n] }, residual: { shape: [2, 9, n] } },
        build: (g, v) => matmul(g, v.a!, v.b!, { bias: v.bias, activation, residual: v.residual, scale: 0.7 }),
        reference: ({ a, b, bias, residual }) => {
          const sum = map64(matmul64(a!, b!, false), (x, i) => x + bias!.data[i % n]!);
          return map64(sum, (x, i) => ((activation === "none" ? x : activations[activation](x)) + residual!.data[i]!) * 0.7);
        },
        gradients: ["a", "b", "bias", "residual"],
      }));
  }
}

const convolutions = [
  { x: [1, 9, 7, 20], n: 24, kernel: 3, stride: 1, padding: [1, 1, 1, 1] },
  { x: [2, 8, 8, 12], n: 8, kernel: 3, stride: 2, padding: [1, 1, 1, 1] },
  { x: [1, 8, 6, 8], n: 12, kernel: 3, stride: 2, padding: [0, 1, 0, 1] },
  { x: [3, 5, 5, 3], n: 5, kernel: 3, stride: 1, padding: [1, 1, 1, 1] },
  // All four sides differ, so that one in the place of another shows, in the gradients too.
  { x: [2, 6, 7, 4], n: 8, kernel: 3, stride: 1, padding: [2, 1, 0, 3] },
  { x: [1, 7, 6, 3], n: 5, kernel: 3, stride: 2, padding: [0, 2, 1, 3] },
  { x: [1, 11, 10, 3], n: 6, kernel: 7, stride: 2, padding: [3, 3, 3, 3] },
  { x: [2, 7, 6, 8], n: 4, kernel: 1, stride: 2, padding: [0, 0, 0, 0] },
  { x: [1, 6, 5, 6], n: 7, kernel: 1, stride: 1, padding: [0, 0, 0, 0] },
] as const;
for (const { x, n, kernel, stride, padding } of convolutions) {
  test(`conv2d ${x.join("x")} to ${n}, kernel ${kernel}, stride ${stride}, padding ${padding.join()}`, () =>
    checkOp({
      name: "conv2d",
      inputs: { x: { shape: x }, w: { shape: [kernel, kernel, x[3], n] }, bias: { shape: [n] } },
      build: (g, v) => conv2d(g, v.x!, v.w!, { bias: v.bias, stride, padding }),
      reference: (v) => conv2d64(v.x!, v.w!, v.bias!, stride, padding),
      gradients: ["x", "w", "bias"],
    }));
}

for (const n of [8, 6]) {
  test(`conv2d epilogue: batch bias, SiLU, residual, scale, ${n} channels`, () =>
    checkOp({
      name: "conv2d",
      inputs: {
        x: { shape: [3, 5, 4, 8] },
        w: { shape: [3, 3, 8, n] },
        bias: { shape: [n] },
        batchBias: { shape: [3, n] },
        residual: { shape: [3, 5, 4, n] },
      },
      build: (g, v) =>
        conv2d(g, v.x!, v.w!, { bias: v.bias, batchBias: v.batchBias, padding: 1, activation: "silu", residual: v.residual, scale: 1.3 }),
      reference: (v) => {
        const sum = map64(
          conv2d64(v.x!, v.w!, v.bias!, 1, [1, 1, 1, 1]),
          (y, i) => y + v.batchBias!.data[Math.floor(i / (20 * n)) * n + (i % n)]!,
        );
        return map64(sum, (y, i) => (activations.silu(y) + v.residual!.data[i]!) * 1.3);
      },
      gradients: ["x", "w", "bias", "batchBias", "residual"],
    }));
}

for (const [k, n] of [[20, 24], [7, 5]] as const) {
  test(`matmul and conv2d as a GPU without subgroups runs them, ${k} to ${n}`, async () => {
    await checkOp({
      name: "matmul",
      inputs: { a: { shape: [2, 37, k] }, b: { shape: [k, n] }, bias: { shape: [n] }, residual: { shape: [2, 37, n] } },
      build: (g, v) => matmul(plannedForGpu(g), v.a!, v.b!, { bias: v.bias, activation: "silu", residual: v.residual }),
      reference: ({ a, b, bias, residual }) =>
        map64(
          map64(matmul64(a!, b!, false), (x, i) => x + bias!.data[i % n]!),
          (x, i) => activations.silu(x) + residual!.data[i]!,
        ),
      gradients: ["a", "residual"],
    });
    await checkOp({
      name: "conv2d",
      inputs: { x: { shape: [2, 9, 7, k] }, w: { shape: [3, 3, k, n] }, bias: { shape: [n] } },
      build: (g, v) => conv2d(plannedForGpu(g), v.x!, v.w!, { bias: v.bias, stride: 2, padding: 1 }),
      reference: (v) => conv2d64(v.x!, v.w!, v.bias!, 2, [1, 1, 1, 1]),
      gradients: ["x"],
    });
  });
}

finish();
