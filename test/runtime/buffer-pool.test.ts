import { test } from "uvu";
import * as assert from "uvu/assert";
import { scale } from "../../kernels/elementwise.ts";
import { f32 } from "../../kernels/kernel.ts";
import { BufferPool, pooledBytes } from "../../engine/runtime/buffer-pool.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { Program } from "../../engine/runtime/program.ts";
import { finish, testDevice } from "../support/device.ts";
import { normals } from "../support/op-test.ts";

interface Fake {
  readonly size: number;
}

function fakePool(): { pool: BufferPool; live: Set<Fake> } {
  const live = new Set<Fake>();
  const create = (size: number): GPUBuffer => {
    const buffer: Fake = { size };
    live.add(buffer);
    return buffer as GPUBuffer;
  };
  return { pool: new BufferPool(create, (buffer) => void live.delete(buffer)), live };
}

test("each size gets a buffer of its own that is large enough, and what is there is used first", () => {
  const { pool, live } = fakePool();
  for (let round = 0; round < 50; round++) {
    const sizes = Array.from({ length: 8 }, () => 16 * (1 + Math.floor(Math.random() * 100)));
    const missing = pool.missingBytes(sizes);
    const before = live.size;
    const got = pool.acquire(sizes);
    assert.is(new Set(got).size, sizes.length);
    got.forEach((b, i) => assert.ok(b.size >= sizes[i]!));
    const fresh = [...live].slice(before);
    assert.is(fresh.reduce((n, b) => n + b.size, 0), missing);
  }
});

test("a buffer is freed when the last program that holds it lets go", () => {
  const { pool, live } = fakePool();
  const first = pool.acquire([64, 32]);
  const second = pool.acquire([48]);
  assert.is(second[0], first[0]);
  pool.release(first);
  assert.is(live.size, 1);
  pool.release(second);
  assert.is(live.size, 0);
});

test("programs that follow one another need the memory of the largest", () => {
  assert.is(pooledBytes([[100, 50], [80, 80], [100]]), 100 + 50 + 80);
  assert.is(pooledBytes([[100, 50], [50, 100]]), 150);
  assert.is(pooledBytes([]), 0);
});

test("an output is still there after another program has used the same pool", async () => {
  const device = await testDevice();
  const make = async (factor: number): Promise<Program> => {
    const g = new Graph();
    return Program.create(device, g, {
      outputs: { y: scale(g, scale(g, scale(g, g.input("x", f32([64])), factor), factor), factor) },
      poison: true,
    });
  };
  const [two, three] = [await make(2), await make(3)];
  const x = normals(64);
  await two.run({ x });
  await three.run({ x });
  assert.equal([...(await two.readFloats("y"))], [...x].map((v) => Math.fround(8 * v)));
  two.destroy();
  await three.run({ x });
  const y = await three.readFloats("y");
  assert.ok(y.every((v, i) => Math.abs(v - 27 * x[i]!) < 1e-4));
  three.destroy();
});

finish();
