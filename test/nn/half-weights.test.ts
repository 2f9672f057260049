/** Weights that a file holds as float16 reach a device that stores float16 bit for bit, whatever is laid over them or not. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { float16ToFloat32 } from "../../engine/formats/half.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { Parameters, type WeightSource } from "../../engine/nn/parameters.ts";
import type { WeightLayout } from "../../engine/nn/weight-layout.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { Value } from "../../kernels/kernel.ts";
import { type RawTensor, safetensors } from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";

const PANEL = 32;

/** Every kind of finite number, subnormals too; infinities and NaNs are refused when they are read. */
function anyHalves(count: number): Uint16Array<ArrayBuffer> {
  return Uint16Array.from({ length: count }, () => Math.floor(Math.random() * 65536)).map((bits) =>
    (bits & 0x7c00) === 0x7c00 ? bits & ~0x4000 : bits,
  );
}

async function source(tensors: Readonly<Record<string, RawTensor>>): Promise<WeightSource> {
  return weightSource(await openTensorPath(memoryFiles({ "w.safetensors": safetensors(tensors) }), "w.safetensors"));
}

/** The halves that the device holds. */
async function uploadedLeaf(from: WeightSource, ask: (parameters: Parameters, g: Graph) => Value): Promise<Uint16Array> {
  const parameters = new Parameters("part", await testDevice(), from, "f16");
  const g = new Graph();
  const { type } = ask(parameters, g);
  assert.is(type.dtype, "f16");
  await parameters.load();
  const [name] = g.nodes.flatMap((node) => (parameters.owns(node.name) ? [node.name] : []));
  const words = (await parameters.tensor(name!, type).read()) as Uint32Array;
  parameters.destroy();
  return new Uint16Array(words.buffer, words.byteOffset, type.shape.reduce((a, b) => a * b, 1));
}

function uploaded(from: WeightSource, name: string, layout: WeightLayout, shape: readonly number[]): Promise<Uint16Array> {
  return uploadedLeaf(from, (parameters, g) => parameters.value(g, name, layout, shape));
}

/** [out, in, ...taps] as [taps, in, out], in panels of 32 outputs where these divide them. */
function expectedOrder(halves: Uint16Array, [out, inner, ...kernel]: readonly [number, number, ...number[]]): Uint16Array {
  const taps = kernel.reduce((a, b) => a * b, 1);
  const width = out % PANEL === 0 ? PANEL : out;
  const result: number[] = [];
  for (let tap = 0; tap < taps; tap++) {
    for (let panel = 0; panel < out; panel += width) {
      for (let i = 0; i < inner; i++) for (let o = panel; o < panel + width; o++) result.push(halves[(o * inner + i) * taps + tap]!);
    }
  }
  return Uint16Array.from(result);
}

for (const [layout, shape] of [["linear", [64, 12]], ["linear", [20, 8]], ["conv", [32, 4, 3, 3]], ["conv", [12, 8, 1, 1]]] as const) {
  test(`${layout} [${shape.join(", ")}]`, async () => {
    const halves = anyHalves(shape.reduce((a: number, b) => a * b, 1));
    const from = await source({ w: { dtype: "F16", shape, data: new Uint8Array(halves.buffer) } });
    assert.equal(await uploaded(from, "w", layout, shape), expectedOrder(halves, shape));
    // float32 of the same numbers comes to the same, but for NaNs' payloads
    const wide = await source({ w: { dtype: "F32", shape, data: new Uint8Array(float16ToFloat32(halves).buffer) } });
    const same = (a: number, b: number): boolean => a === b || ((a & 0x7fff) > 0x7c00 && (b & 0x7fff) > 0x7c00);
    const [rounded, wanted] = [await uploaded(wide, "w", layout, shape), expectedOrder(halves, shape)];
    assert.ok(rounded.every((bits, i) => same(bits, wanted[i]!)));
  });
}

test("several weights side by side, and values with their gates in fours", async () => {
  const [a, b] = [anyHalves(32 * 12), anyHalves(32 * 12)];
  const both = Uint16Array.from([...a, ...b]);
  const raw = (halves: Uint16Array<ArrayBuffer>, rows: number): RawTensor => ({
    dtype: "F16",
    shape: [rows, 12],
    data: new Uint8Array(halves.buffer),
  });
  const from = await source({ a: raw(a, 32), b: raw(b, 32), both: raw(both, 64) });
  assert.equal(
    await uploadedLeaf(from, (p, g) =>
      p.joined(
        g,
        [
          ["a", [32, 12]],
          ["b", [32, 12]],
        ],
        "linear",
      ),
    ),
    expectedOrder(both, [64, 12]),
  );
  const fours = Array.from({ length: 16 }, (_, i) => [2 * i, 2 * i + 1, 32 + 2 * i, 33 + 2 * i]).flat();
  const gated = Uint16Array.from(fours.flatMap((row) => [...both.subarray(row * 12, (row + 1) * 12)]));
  assert.equal(await uploadedLeaf(from, (p, g) => p.gated(g, "both", "linear", [64, 12])), expectedOrder(gated, [64, 12]));
});

test("a source that changes its numbers is asked for floats", async () => {
  const plain = await source({ w: { dtype: "F16", shape: [32, 4], data: new Uint8Array(new Uint16Array(128).fill(0x3c00).buffer) } });
  const doubled: WeightSource = {
    name: "doubled",
    shape: (t) => plain.shape(t),
    names: () => plain.names(),
    readFloat32: async (t) => (await plain.readFloat32(t)).map((x) => 2 * x),
  };
  assert.equal([...new Set(await uploaded(doubled, "w", "linear", [32, 4]))], [0x4000]);
});

finish();
