import * as assert from "uvu/assert";
import { test } from "uvu";
import { averagePool } from "../../kernels/average-pool.ts";
import { concat } from "../../kernels/concat.ts";
import { maxPool, maxPoolGradientKernel } from "../../kernels/max-pool.ts";
import { pad, rows, slice } from "../../kernels/slice.ts";
import { upsampleGradientKernel, upsampleNearest } from "../../kernels/upsample.ts";
import { fromChannelsLast, toChannelsLast } from "../../engine/nn/array.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { HostArray } from "../../engine/runtime/program.ts";
import { floats, readFixture, relativeL2 } from "../support/fixtures.ts";
import { checkOp } from "../support/op-test.ts";
import { refused } from "../support/refused.ts";
import { runOp } from "../support/run-op.ts";
import { finish } from "../support/device.ts";
import {
  averagePoolReference,
  concatReference,
  maxPoolReference,
  upsampleReference,
  windowReference,
} from "../../engine/verify/self-test/reference/spatial.ts";

const upsampleCases: readonly [readonly [number, number, number, number], readonly [number, number] | undefined][] = [
  [[2, 5, 7, 20], undefined],
  [[1, 1, 1, 4], undefined],
  [[3, 4, 3, 3], undefined],
  [[1, 3, 5, 8], [5, 9]], // an odd size on the way up: 2 * size - 1
  [[2, 4, 6, 5], [7, 6]],
  [[1, 7, 9, 4], [3, 5]], // smaller: some pixels are never copied
  [[1, 6, 49, 4], [10, 100]],
];
for (const [shape, size] of upsampleCases) {
  const name = `upsample ${shape.join("x")} to ${size?.join("x") ?? "twice"}`;
  test(name, async () => {
    const [height, width] = size ?? [shape[1] * 2, shape[2] * 2];
    await checkOp({
      name,
      inputs: { x: { shape } },
      build: (g, v) => upsampleNearest(g, v["x"]!, size),
      reference: ({ x }) => upsampleReference(x!, height, width),
      gradients: ["x"],
    });
  });
}

test("upsample matches torch, forward and gradient", async () => {
  const golden = readFixture("golden/linear_norm_act.safetensors");
  for (const name of ["up_a", "up_b"]) {
    const [n, c, h, w] = golden.get(`${name}/x`)!.shape as [number, number, number, number];
    const stored = (what: string, shape: readonly number[]) => ({ data: new Float32Array(floats(golden, `${name}/${what}`)), shape });
    const [y, dx] = await runOp(
      {
        x: { shape: [n, h, w, c], data: toChannelsLast(stored("x", [n, c, h, w])) },
        dy: { shape: [n, 2 * h, 2 * w, c], data: toChannelsLast(stored("gy", [n, c, 2 * h, 2 * w])) },
      },
      (g, v) => [upsampleNearest(g, v["x"]!), g.apply(upsampleGradientKernel, { dy: v["dy"]! }, { height: h, width: w }).dx],
    );
    const asStored = (data: HostArray | undefined, scale: number): Float32Array =>
      fromChannelsLast(data as Float32Array<ArrayBuffer>, [n, scale * h, scale * w, c]).data;
    assert.ok(relativeL2(asStored(y, 2), floats(golden, `${name}/y`)) === 0, `${name} forward`);
    assert.ok(relativeL2(asStored(dx, 1), floats(golden, `${name}/gx`)) < 1e-6, `${name} gradient`);
  }
});

const concatCases: readonly [readonly number[], readonly number[], number][] = [
  [[2, 3, 5, 20], [2, 3, 5, 12], 3],
  [[1, 37, 5], [1, 37, 3], 2],
  [[3, 2, 7], [3, 4, 7], 1],
  [[1, 3, 3, 4], [2, 3, 3, 4], 0],
];
for (const [a, b, axis] of concatCases) {
  const name = `concat ${a.join("x")} and ${b.join("x")} along ${axis}`;
  test(name, () =>
    checkOp({
      name,
      inputs: { a: { shape: a }, b: { shape: b } },
      build: (g, v) => concat(g, v["a"]!, v["b"]!, axis),
      reference: (x) => concatReference(x["a"]!, x["b"]!, axis),
      gradients: ["a", "b"],
    }),
  );
}

const sliceCases: readonly [readonly number[], number, number, number][] = [
  [[2, 3, 5, 20], 3, 4, 8],
  [[2, 37, 5], 2, 1, 3],
  [[3, 11, 7], 1, 2, 9],
  [[4, 3, 4], 0, 3, 1],
];
for (const [shape, axis, start, count] of sliceCases) {
  const name = `slice ${shape.join("x")}, ${count} from ${start} along ${axis}`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape } },
      build: (g, v) => slice(g, v["x"]!, start, count, axis),
      reference: ({ x }) => windowReference(x!, axis, start, count),
      gradients: ["x"],
    }),
  );
}

test("rows of sequences and of a table", async () => {
  await checkOp({
    name: "rows 3x7x5",
    inputs: { x: { shape: [3, 7, 5] } },
    build: (g, v) => rows(g, v["x"]!, 2, 4),
    reference: ({ x }) => windowReference(x!, 1, 2, 4),
    gradients: ["x"],
  });
  await checkOp({
    name: "rows 7x20",
    inputs: { x: { shape: [7, 20] } },
    build: (g, v) => rows(g, v["x"]!, 0, 3),
    reference: ({ x }) => windowReference(x!, 0, 0, 3),
    gradients: ["x"],
  });
});

test("pad", () =>
  checkOp({
    name: "pad",
    inputs: { x: { shape: [2, 5, 3] } },
    build: (g, v) => pad(g, v["x"]!, 1, 2, 1),
    reference: ({ x }) => windowReference(x!, 1, -2, 8),
    gradients: ["x"],
  }));

const poolCases: readonly [readonly [number, number, number, number], number, number, number][] = [
  [[2, 9, 7, 20], 3, 2, 1], // ResNet's stem
  [[1, 8, 8, 4], 3, 2, 1],
  [[3, 5, 6, 3], 2, 2, 0],
  [[1, 7, 7, 5], 3, 1, 1],
  [[1, 4, 5, 4], 4, 3, 2],
  [[1, 11, 11, 4], 2, 3, 0], // pixels that no window covers
];
for (const [shape, kernel, stride, padding] of poolCases) {
  const name = `max-pool ${shape.join("x")} kernel ${kernel} stride ${stride} padding ${padding}`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape } },
      build: (g, v) => maxPool(g, v["x"]!, { kernel, stride, padding }),
      reference: ({ x }) => maxPoolReference(x!, kernel, stride, padding),
      gradients: ["x"],
    }),
  );
}

test("max-pool gives a tie's gradient to the first pixel, as torch does", async () => {
  // All zero, as after a ReLU: each window's cotangent goes to its first pixel inside the image.
  const spec = { x: { shape: [1, 4, 4, 1], data: new Float32Array(16) }, dy: { shape: [1, 2, 2, 1], data: Float32Array.of(1, 2, 4, 8) } };
  const attributes = { kernel: 3, stride: 2, padding: 1 };
  const [dx] = await runOp(spec, (g, v) => [
    g.apply(maxPoolGradientKernel, { x: v["x"]!, y: maxPool(g, v["x"]!, attributes), dy: v["dy"]! }, attributes).dx,
  ]);
  assert.equal([...dx!], [1, 2, 0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

for (const shape of [[3, 5, 7, 20], [2, 1, 1, 5], [1, 33, 31, 4]] as const) {
  const name = `average-pool ${shape.join("x")}`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape } },
      build: (g, v) => averagePool(g, v["x"]!),
      reference: ({ x }) => averagePoolReference(x!),
      gradients: ["x"],
    }),
  );
}

test("wrong shapes are named", () => {
  const g = new Graph();
  const x = g.input("x", { shape: [2, 3, 4], dtype: "f32" });
  const image = g.input("image", { shape: [1, 4, 4, 3], dtype: "f32" });
  refused(() => concat(g, x, g.input("y", { shape: [2, 5, 4], dtype: "f32" })), /concat.*f32\[2,3,4\].*f32\[2,5,4\]/);
  refused(() => slice(g, x, 3, 2), /slice.*\[3, 5\).*axis 2/);
  refused(() => upsampleNearest(g, x, [2, 2]), /upsample.*4 dimensions/);
  refused(() => upsampleNearest(g, image, [0, 2]), /0 x 2/);
  refused(() => maxPool(g, image, { kernel: 2, stride: 1, padding: 2 }), /max-pool.*padding/);
  refused(() => maxPool(g, image, { kernel: 7, stride: 1, padding: 1 }), /does not fit into f32\[1,4,4,3\]/);
});

finish();
