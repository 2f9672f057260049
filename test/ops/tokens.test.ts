import * as assert from "uvu/assert";
import { test } from "uvu";
import { categorical } from "../../kernels/categorical.ts";
import { embedding } from "../../kernels/embedding.ts";
import { scatterRows } from "../../kernels/gather-rows.ts";
import { gatherRows } from "../../kernels/gather-rows.ts";
import { scatterIds } from "../../kernels/slots.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { finish } from "../support/device.ts";
import { gatherReference } from "../../engine/verify/self-test/reference/tokens.ts";
import { floats, readFixture, relativeL2 } from "../support/fixtures.ts";
import { checkOp, normals } from "../support/op-test.ts";
import { refused } from "../support/refused.ts";
import { runOp } from "../support/run-op.ts";

const random = (n: number): number => Math.floor(Math.random() * n);

for (const [vocabulary, hidden, ids] of [[100, 32, [2, 37]], [11, 5, [7]], [1, 4, [3]]] as const) {
  const name = `embedding of ${ids.join("x")} ids in ${vocabulary}x${hidden}`;
  test(name, () =>
    checkOp({
      name,
      inputs: {
        table: { shape: [vocabulary, hidden] },
        ids: {
          shape: ids,
          dtype: "u32",
          data: Uint32Array.from({ length: ids.reduce((a: number, b) => a * b, 1) }, () => random(vocabulary)),
        },
      },
      build: (g, v) => embedding(g, v["table"]!, v["ids"]!),
      reference: (x) => gatherReference(x["table"]!, x["ids"]!, [...ids, hidden]),
      gradients: ["table"],
    }),
  );
}

test("embedding matches torch, with the gradient of the table", async () => {
  const golden = readFixture("golden/linear_norm_act.safetensors");
  const ids = Uint32Array.from(golden.get("embedding/ids")!.data as Int32Array);
  const [y, dTable] = await runOp(
    {
      table: { shape: [60, 32], data: new Float32Array(floats(golden, "embedding/w")) },
      ids: { shape: [2, 77], data: ids },
      dy: { shape: [2, 77, 32], data: new Float32Array(floats(golden, "embedding/gy")) },
    },
    (g, v) => [embedding(g, v["table"]!, v["ids"]!), scatterRows(g, v["dy"]!, v["ids"]!, 60)],
  );
  assert.is(relativeL2(y!, floats(golden, "embedding/y")), 0);
  assert.ok(relativeL2(dTable!, floats(golden, "embedding/gw")) < 1e-6);
});

test("embedding from a table split by rows; an id outside gives zeros", async () => {
  const table = normals(23 * 8);
  const ids = Uint32Array.of(0, 9, 10, 17, 18, 22, 23, 0xffffffff);
  const [y] = await runOp(
    {
      a: { shape: [10, 8], data: table.slice(0, 80) },
      b: { shape: [8, 8], data: table.slice(80, 144) },
      c: { shape: [5, 8], data: table.slice(144) },
      ids: { shape: [8], data: ids },
    },
    (g, v) => [embedding(g, [v["a"]!, v["b"]!, v["c"]!], v["ids"]!)],
  );
  const expected = new Float32Array(64);
  ids.forEach((id, i) => id < 23 && expected.set(table.subarray(id * 8, id * 8 + 8), i * 8));
  assert.equal([...y!], [...expected]);
});

/** The float32 value of a float16's bits; normal numbers and zero only. */
function fromHalf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  return exponent === 0 ? 0 : (bits & 0x8000 ? -1 : 1) * 2 ** (exponent - 15) * (1 + (bits & 1023) / 1024);
}

for (const hidden of [8, 5]) {
  test(`embedding from a float16 table ${hidden} wide`, async () => {
    const halves = Uint16Array.from({ length: 9 * hidden }, () => (random(2) << 15) | ((1 + random(29)) << 10) | random(1024));
    const words = new Uint32Array(Math.ceil(halves.length / 2));
    halves.forEach((h, i) => (words[i >> 1]! |= h << (16 * (i & 1))));
    const ids = Uint32Array.from({ length: 13 }, () => random(9));
    const [y] = await runOp({ table: { shape: [9, hidden], dtype: "f16", data: words }, ids: { shape: [13], data: ids } }, (g, v) => [
      embedding(g, v["table"]!, v["ids"]!),
    ]);
    assert.equal(
      [...y!],
      [...ids].flatMap((id) => [...halves.subarray(id * hidden, (id + 1) * hidden)].map(fromHalf)),
    );
  });
}

test("scatter-ids places the chosen tokens", async () => {
  const ids = Uint32Array.from({ length: 77 }, () => random(49408));
  const positions = Uint32Array.of(1, 2, 76, 2, 500); // 2 twice: the last wins; 500 is outside
  const chosen = Uint32Array.of(11, 12, 13, 14, 15);
  const [y] = await runOp(
    { ids: { shape: [1, 77], data: ids }, chosen: { shape: [5], data: chosen }, positions: { shape: [5], data: positions } },
    (g, v) => [scatterIds(g, v["ids"]!, v["chosen"]!, v["positions"]!)],
  );
  const expected = [...ids];
  expected.splice(1, 2, 11, 14);
  expected[76] = 13;
  assert.equal([...y!], expected);
});

for (const hidden of [20, 7]) {
  const name = `gather-rows of a sequence ${hidden} wide`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape: [1, 37, hidden] }, positions: { shape: [4], dtype: "u32", data: [3, 36, 0, 3] } },
      build: (g, v) => gatherRows(g, v["x"]!, v["positions"]!),
      reference: (x) => gatherReference(x["x"]!, x["positions"]!, [4, hidden]),
      gradients: ["x"],
    }),
  );
}

/** How far u is outside of [cdf below i, cdf up to i] of row `weights`, in float64. */
function distanceFromDraw(weights: Float32Array, u: number, i: number): number {
  let total = 0;
  let below = 0;
  weights.forEach((w, j) => {
    if (j < i) below += w;
    total += w;
  });
  return Math.max(0, below / total - u, u - (below + weights[i]!) / total);
}

async function draw(rows: readonly Float32Array[], uniforms: readonly number[]): Promise<number[]> {
  const columns = rows[0]!.length;
  const weights = new Float32Array(rows.length * columns);
  rows.forEach((row, r) => weights.set(row, r * columns));
  const [y] = await runOp(
    { weights: { shape: [rows.length, columns], data: weights }, uniforms: { shape: [rows.length], data: Float32Array.from(uniforms) } },
    (g, v) => [categorical(g, v["weights"]!, v["uniforms"]!)],
  );
  return [...y!];
}

const LAST = 1 - 2 ** -24; // the largest float32 below 1

for (const columns of [1, 2, 17, 255, 256, 257, 1000, 4097, 49408]) {
  test(`categorical over ${columns} weights`, async () => {
    const count = columns > 10000 ? 6 : 24;
    const rows = Array.from({ length: count }, (_, r) => {
      // In turn: plain, sparse, steep (twelve decades), equal.
      const row = Float32Array.from(
        { length: columns },
        () => [Math.random(), Math.random() < 0.9 ? 0 : Math.random(), 10 ** (-12 * Math.random()), 0.37][r % 4]!,
      );
      row[random(columns)] = 0.5;
      return row;
    });
    const uniforms = rows.map((_, r) => (r < 4 ? 0 : r < 8 && count > 8 ? LAST : Math.fround(Math.random() * LAST)));
    const drawn = await draw(rows, uniforms);
    drawn.forEach((i, r) => {
      assert.ok(i < columns && rows[r]![i]! > 0, `row ${r}: index ${i} has no weight`);
      const distance = distanceFromDraw(rows[r]!, uniforms[r]!, i);
      assert.ok(distance < 1e-6, `row ${r}: u = ${uniforms[r]} is ${distance} outside of index ${i}'s share`);
    });
  });
}

/** A row of zeros but for a tiny weight at `where`. */
function sparseRow(columns: number, ...where: number[]): Float32Array {
  const row = new Float32Array(columns);
  for (const i of where) row[i] = 1e-30;
  return row;
}

test("categorical: one-hot rows, empty rows, ends of the range, repeatable", async () => {
  const rows = [
    sparseRow(1000, 0),
    sparseRow(1000, 999),
    sparseRow(1000, 17),
    sparseRow(1000),
    sparseRow(1000, 16, 900),
    sparseRow(1000, 16, 900),
    sparseRow(1000, 3),
    sparseRow(1000).fill(-1),
  ];
  rows[7]![42] = -0.5;
  const uniforms = [LAST, 0, 0.5, 0.5, 0.49, 0.51, 0, 0.9];
  const drawn = await draw(rows, uniforms);
  assert.equal(drawn, [0, 999, 17, 0, 16, 900, 3, 42]);
  assert.equal(await draw(rows, uniforms), drawn);
});

test("categorical draws with the right frequencies", async () => {
  // Stratified uniforms make the counts exact to one.
  const row = Float32Array.of(1, 0, 3, 2, 0, 4);
  const n = 2000;
  const drawn = await draw(Array<Float32Array>(n).fill(row), Array.from({ length: n }, (_, i) => (i + 0.5) / n));
  const counts = [0, 0, 0, 0, 0, 0];
  for (const i of drawn) counts[i]!++;
  assert.equal(counts, [200, 0, 600, 400, 0, 800]);
});

test("wrong shapes are named", () => {
  const g = new Graph();
  const f = (shape: readonly number[]) => g.input(`f ${shape.join("x")}`, { shape, dtype: "f32" });
  const u = (shape: readonly number[]) => g.input(`u ${shape.join("x")}`, { shape, dtype: "u32" });
  refused(() => embedding(g, f([4, 4]), f([4])), /embedding.*"ids" must be u32/);
  refused(() => embedding(g, [f([4, 4]), f([4, 5])], u([4])), /part 1 is f32\[4,5\]/);
  refused(() => gatherRows(g, f([2, 4, 4]), u([4])), /gather-rows.*one sequence.*f32\[2,4,4\]/);
  refused(() => scatterIds(g, u([77]), u([3]), u([4])), /u32\[3\].*u32\[4\]/);
  refused(() => categorical(g, f([3, 5]), f([4])), /f32\[4\].*f32\[3,5\]/);
});

finish();
