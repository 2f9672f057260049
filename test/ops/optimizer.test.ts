import * as assert from "uvu/assert";
import { test } from "uvu";
import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../kernels/adam.ts";
import { clamp } from "../../kernels/clamp.ts";
import { guidance, safeGuidance } from "../../kernels/guidance.ts";
import { type Projection, simplexProjection } from "../../kernels/simplex-projection.ts";
import { SLD_PARAMETERS, SLD_STRENGTHS } from "../../engine/diffusion/guidance.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { finish } from "../support/device.ts";
import { floats, readFixture, readJson, relativeL2 } from "../support/fixtures.ts";
import { adamReference, projectionReference } from "../../engine/verify/self-test/reference/optimizer.ts";
import { type Array64, checkOp, normals } from "../support/op-test.ts";
import { refused } from "../support/refused.ts";
import { runOp } from "../support/run-op.ts";

const golden = readFixture("optimizer/optimizer.safetensors");

for (const [shape, step, lr, weightDecay] of [[[3, 1000], 1, 0.01, 0.1], [[5, 37], 7, 0.05, 0], [[1], 400, 1e-3, 0.01]] as const) {
  const name = `adam ${shape.join("x")} step ${step}`;
  test(name, () => {
    const count = shape.reduce((a: number, b) => a * b, 1);
    return checkOp({
      name,
      inputs: {
        p: { shape },
        gradient: { shape, scale: 0.1 },
        m: { shape, scale: 0.1 },
        v: { shape, data: normals(count, 0.1).map((x) => x * x) },
        hyper: { shape: [ADAM_HYPERPARAMETERS], data: adamHyperparameters({ lr, weightDecay }, step) },
      },
      build(g, v) {
        const next = adam(g, { parameter: v["p"]!, m: v["m"]!, v: v["v"]! }, v["gradient"]!, v["hyper"]!);
        return [next.parameter, next.m, next.v];
      },
      reference: (x) =>
        adamReference(x["p"]!.data, x["gradient"]!.data, x["m"]!.data, x["v"]!.data, step, lr, weightDecay).map((data) => ({
          shape,
          data,
        })),
    });
  });
}

test("adam where a gradient is no larger than its epsilon", () => {
  const shape = [64];
  return checkOp({
    name: "adam",
    inputs: {
      p: { shape }, gradient: { shape, scale: 1e-8 }, m: { shape, scale: 1e-8 }, v: { shape, data: normals(64, 1e-8).map((x) => x * x) },
      hyper: { shape: [ADAM_HYPERPARAMETERS], data: adamHyperparameters({ lr: 0.1 }, 3) },
    },
    build: (g, v) => adam(g, { parameter: v["p"]!, m: v["m"]!, v: v["v"]! }, v["gradient"]!, v["hyper"]!).parameter,
    reference: (x) => ({ shape, data: adamReference(x["p"]!.data, x["gradient"]!.data, x["m"]!.data, x["v"]!.data, 3, 0.1, 0)[0]! }),
  });
});

type Arrays = Float32Array<ArrayBuffer>;

async function adamStep(parameter: Arrays, gradient: Arrays, m: Arrays, v: Arrays, step: number): Promise<[Arrays, Arrays, Arrays]> {
  const shape = [parameter.length];
  const inputs = {
    p: { shape, data: parameter },
    d: { shape, data: gradient },
    m: { shape, data: m },
    v: { shape, data: v },
    hyper: { shape: [ADAM_HYPERPARAMETERS], data: adamHyperparameters({ lr: 0.01, weightDecay: 0.1 }, step) },
  };
  const [a, b, c] = await runOp(inputs, (g, x) => {
    const next = adam(g, { parameter: x["p"]!, m: x["m"]!, v: x["v"]! }, x["d"]!, x["hyper"]!);
    return [next.parameter, next.m, next.v];
  });
  return [a as Arrays, b as Arrays, c as Arrays];
}

/** Row `index` of a tensor whose first dimension is steps. */
function stepOf(name: string, index: number): Arrays {
  const { shape } = golden.get(name)!;
  const data = floats(golden, name);
  const size = data.length / shape[0]!;
  return new Float32Array(data.subarray(index * size, (index + 1) * size));
}

test("adam follows torch for 12 steps, moments included", async () => {
  let parameter = stepOf("adam/params", 0);
  let m: Arrays = new Float32Array(150);
  let v: Arrays = new Float32Array(150);
  for (let i = 0; i < 12; i++) {
    [parameter, m, v] = await adamStep(parameter, stepOf("adam/grads", i), m, v, i + 1);
    const error = relativeL2(parameter, stepOf("adam/params", i + 1));
    assert.ok(error < 1e-6, `step ${i}: ${error}`);
  }
  assert.ok(relativeL2(m, floats(golden, "adam/exp_avg")) < 1e-6);
  assert.ok(relativeL2(v, floats(golden, "adam/exp_avg_sq")) < 1e-6);
});

test("adam follows the reference attack's trace", async () => {
  const size = 3 * 64;
  let m: Arrays = new Float32Array(size);
  let v: Arrays = new Float32Array(size);
  let parameter = new Float32Array(floats(golden, "trace/init"));
  for (let i = 0; i < 20; i++) {
    let next: Arrays;
    [next, m, v] = await adamStep(parameter, stepOf("trace/grad", i), m, v, i + 1);
    const error = relativeL2(next, stepOf("trace/adam", i));
    assert.ok(error < 1e-5, `iteration ${i}: ${error}`);
    parameter = stepOf("trace/proj", i); // the whole rows are projected; the fixture holds their first 64 columns
  }
});

async function project(rows: readonly Float32Array[], projection: Projection): Promise<Float32Array[]> {
  const columns = rows[0]!.length;
  const data = new Float32Array(rows.length * columns);
  rows.forEach((row, r) => data.set(row, r * columns));
  const [y] = await runOp({ a: { shape: [rows.length, columns], data } }, (g, v) => [simplexProjection(g, v["a"]!, projection)]);
  return rows.map((_, r) => (y as Float32Array).subarray(r * columns, (r + 1) * columns));
}

/** A row of two values, of which the fixture holds one bit each, the lowest first. */
function ofBits(name: string, values: readonly number[]): Float32Array {
  const bits = golden.get(name)!.data as Uint8Array;
  return Float32Array.from({ length: 8 * bits.length }, (_, i) => values[(bits[i >> 3]! >> (i & 7)) & 1]!);
}

const worstOf = (a: Float32Array, b: ArrayLike<number>): number =>
  a.reduce((worst, value, i) => Math.max(worst, Number.isFinite(value) ? Math.abs(value - b[i]!) : Infinity), 0);
const sumOf = (a: Float32Array): number => a.reduce((sum, value) => sum + value, 0);

test("simplex projection: the table of reference rows, exact and as the original's bisection", async () => {
  const { rows } = readJson<{
    readonly rows: readonly {
      readonly name: string;
      readonly mu_exact: number;
      readonly mu_reference: number;
      readonly values?: readonly number[];
    }[];
  }>("optimizer/optimizer.json");
  assert.is(rows.length, 56);
  for (const { name, mu_exact, mu_reference, values } of rows) {
    const a = values ? ofBits(`projection/${name}`, values) : floats(golden, `projection/${name}`);
    const [exact] = await project([a], "exact");
    const distance = worstOf(exact!, Float64Array.from(a, (x) => Math.max(x - mu_exact, 0)));
    assert.ok(distance <= 1e-6, `${name}: exact projection is off by ${distance}`);
    assert.ok(Math.abs(sumOf(exact!) - 1) <= 1e-6, `${name}: the exact projection sums to 1 + ${sumOf(exact!) - 1}`);
    const [bisected] = await project([a], "reference");
    const difference = worstOf(bisected!, Float64Array.from(a, (x) => Math.min(Math.max(x - mu_reference, 0), 1)));
    assert.ok(difference <= 2e-5, `${name}: the bisection is off by ${difference}`);
  }
});

const rowKinds: Readonly<Record<string, (columns: number) => Float32Array>> = {
  normal: (n) => normals(n),
  "nearly uniform": (n) => normals(n, 1e-5).map((x) => x + 1 / n),
  "large offset": (n) => normals(n, 0.5).map((x) => x + 1000),
  "after one Adam step from a vertex": (n) => normals(n).map((x, i) => (i === n >> 1 ? 1 : 0) - 0.01 * Math.sign(x)),
  "ties at the threshold": (n) => new Float32Array(n).map((_, i) => (i % 2 === 0 ? 0.3 : 0.3 - 2 / n)),
  "one above many equal": (n) => new Float32Array(n).fill(0.123).map((x, i) => (i === 0 ? x + 0.99999 : x)),
  geometric: (n) => new Float32Array(n).map((_, i) => 2 ** -i),
  "twelve decades": (n) => new Float32Array(n).map(() => 10 ** (-12 * Math.random())),
  huge: (n) => normals(n, 1e30),
};
for (const columns of [1, 3, 255, 257, 5000, 49408]) {
  test(`simplex projection of rows of ${columns}`, async () => {
    const names = Object.keys(rowKinds);
    const rows = names.map((name) => rowKinds[name]!(columns));
    const projected = await project(rows, "exact");
    names.forEach((name, r) => {
      const distance = worstOf(projected[r]!, projectionReference(rows[r]!));
      assert.ok(distance <= 1e-6, `${name}: off by ${distance}`);
      const excess = sumOf(projected[r]!) - 1;
      assert.ok(Math.abs(excess) <= 1e-6, `${name}: sums to 1 + ${excess}`);
    });
  });
}

test("clamp is hardtanh, forward and gradient", async () => {
  for (const shape of [[3, 37], [5]]) {
    const reference = ({ x }: Readonly<Record<string, Array64>>): Array64 => ({
      shape,
      data: x!.data.map((a) => Math.min(Math.max(a, -1), 1)),
    });
    await checkOp({
      name: "clamp",
      inputs: { x: { shape, scale: 2 } },
      build: (g, v) => clamp(g, v["x"]!),
      reference: (x) => reference(x),
      gradients: ["x"],
    });
  }
});

test("clamping the cotangent is the reference's straight-through gradient", async () => {
  const { shape } = golden.get("ste/grad_output")!;
  const [y] = await runOp({ d: { shape, data: new Float32Array(floats(golden, "ste/grad_output")) } }, (g, v) => [
    clamp(g, v["d"]!, -1, 1),
  ]);
  assert.equal([...y!], [...floats(golden, "ste/grad_input")]);
});

for (const shape of [[2, 4, 4, 4], [6, 3, 5, 1], [2, 7]] as const) {
  const name = `guidance ${shape.join("x")}`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape } },
      build: (g, v) => guidance(g, v["x"]!, 7.5),
      reference({ x }) {
        const half = x!.data.length / 2;
        return { shape: [shape[0] / 2, ...shape.slice(1)], data: x!.data.slice(0, half).map((u, i) => u + 7.5 * (x!.data[half + i]! - u)) };
      },
      gradients: ["x"],
    }),
  );
}

test("safe guidance gives the reference's guided prediction at every step and strength", async () => {
  const sld = readFixture("sld/sld.safetensors");
  for (const strength of SLD_STRENGTHS) {
    const shape = sld.get(`sld.${strength}.eps`)!.shape;
    const part = [1, ...shape.slice(2)];
    const size = part.reduce((a, b) => a * b, 1);
    const parameters = SLD_PARAMETERS[strength];
    let momentum = new Float32Array(size);
    for (let step = 0; step < shape[0]!; step++) {
      const eps = new Float32Array(floats(sld, `sld.${strength}.eps`).subarray(3 * size * step, 3 * size * (step + 1)));
      const enabled = Float32Array.of(floats(sld, `sld.${strength}.timesteps`)[step]! >= parameters.warmup ? 1 : 0);
      const [prediction, next] = await runOp(
        {
          x: { shape: [3, ...part.slice(1)], data: eps },
          momentum: { shape: part, data: momentum },
          enabled: { shape: [1], data: enabled },
        },
        (g, v) => {
          const guided = safeGuidance(g, v["x"]!, v["momentum"]!, v["enabled"]!, parameters, 7.5);
          return [guided.prediction, guided.momentum];
        },
      );
      momentum = next as Float32Array<ArrayBuffer>;
      const error = relativeL2(prediction!, floats(sld, `sld.${strength}.noise_pred`).subarray(size * step, size * (step + 1)));
      assert.ok(error < 1e-5, `${strength}, step ${step}: ${error}`);
    }
  }
});

test("wrong shapes and values are named", () => {
  const g = new Graph();
  const f = (shape: readonly number[]) => g.input(`f ${shape.join("x")}`, { shape, dtype: "f32" });
  refused(() => adam(g, { parameter: f([3, 4]), m: f([3, 4]), v: f([4, 3]) }, f([3, 4]), f([8])), /adam.*v f32\[4,3\].*f32\[3,4\]/);
  refused(() => adam(g, { parameter: f([3]), m: f([3]), v: f([3]) }, f([3]), f([7])), /f32\[10\], got f32\[7\]/);
  refused(() => simplexProjection(g, f([3])), /simplex-projection.*2 dimensions/);
  refused(() => guidance(g, f([3, 4]), 7.5), /guidance.*multiple of 2/);
  refused(() => safeGuidance(g, f([3, 4]), f([3, 4]), f([1]), SLD_PARAMETERS.weak, 7.5), /momentum is f32\[3,4\], expected f32\[1,4\]/);
  refused(() => clamp(g, f([3]), 1, -1), /clamp.*low 1/);
  assert.throws(() => adamHyperparameters({ lr: 0.1 }, 0), /step must be/);
});

finish();
