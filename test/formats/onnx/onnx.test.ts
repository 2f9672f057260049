/** Reader of ONNX weights and of pickled NumPy arrays: what torch, onnx and numpy wrote, and hostile files. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readNumpyPickle } from "../../../engine/formats/pickle/numpy.ts";
import { openOnnx } from "../../../engine/formats/onnx/onnx.ts";
import type { TensorFile } from "../../../engine/formats/tensor-file.ts";
import { bytesOf, FUZZ_ROUNDS, fuzz, globalName, rejects, source, text, uint32 } from "../support.ts";

const fixture = (name: string): Uint8Array<ArrayBuffer> => new Uint8Array(readFileSync(`test/fixtures/judges/${name}`));

/** A field of wire type 2 (bytes) or 0 (number). */
function field(number: number, value: number | string | Uint8Array): Uint8Array<ArrayBuffer> {
  if (typeof value === "number") return bytesOf(varint(number * 8), varint(value));
  const bytes = typeof value === "string" ? bytesOf(value) : value;
  return bytesOf(varint(number * 8 + 2), varint(bytes.length), bytes);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

const tensor = (...parts: Uint8Array[]): Uint8Array<ArrayBuffer> => field(5, bytesOf(...parts));
const model = (...graph: Uint8Array[]): Uint8Array<ArrayBuffer> => field(7, bytesOf(...graph));
const open = (bytes: Uint8Array): Promise<TensorFile> => openOnnx(source(bytes));

test("what torch exported", async () => {
  const file = await open(fixture("nudenet/tiny.onnx"));
  assert.is(file.metadata["imgsz"], "[64, 64]");
  assert.equal(file.entries.get("model.0.conv.weight")!.shape, [4, 3, 3, 3]);
  assert.equal([...(await file.readFloat32("model.22.dfl.conv.weight"))], [0, 1, 2, 3]);
  assert.is((await file.readFloat32("model.0.conv.weight")).length, 108);
});

test("tensors as onnx.helper writes them", async () => {
  const file = await open(fixture("nudenet/tensors.onnx"));
  assert.equal([...(await file.readFloat64("floats"))], [0.5, -1, 2, 3, -4.25, Math.fround(1e-3)]);
  assert.equal(file.entries.get("floats")!.shape, [2, 3]);
  assert.equal([...(await file.readFloat32("halves"))], [1.5, -2]);
  assert.equal([...(await file.readFloat64("scalar"))], [0.125]);
  assert.equal([...(await file.readFloat64("ints"))], [-1, 2 ** 40]);
});

const good = [field(1, 1), field(2, 1), field(8, "w"), field(9, new Uint8Array(4))];
const overlong = bytesOf([0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]); // a length of -1
const cases: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["empty", new Uint8Array(0), /holds no graph/],
  ["no weights", model(), /its graph holds no weights/],
  ["two graphs", bytesOf(model(tensor(...good)), model(tensor(...good))), /two graphs/],
  ["twice the same name", model(tensor(...good), tensor(...good)), /two initializers are named "w"/],
  ["no name", model(tensor(...good.slice(0, 2), good[3]!)), /has no name/],
  ["too few numbers", model(tensor(field(1, 2), ...good.slice(1))), /of shape \[2\] and type F32 needs 8 bytes, but has 4/],
  [
    "an overflowing shape",
    model(tensor(field(1, 2 ** 50), field(1, 2 ** 50), ...good.slice(1))),
    /has shape \[1125899906842624, 1125899906842624\]/,
  ],
  [
    "a negative dimension",
    model(tensor(bytesOf(8, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), ...good.slice(1))),
    /has shape \[-1\]/,
  ],
  ["seventeen dimensions", model(tensor(...Array.from({ length: 17 }, () => field(1, 1)), ...good.slice(1))), /more than 16 dimensions/],
  ["a list of a thousand dimensions", model(tensor(field(1, new Uint8Array(1000)), ...good.slice(1))), /holds more than 16 numbers/],
  ["an unknown element type", model(tensor(good[0]!, field(2, 99), ...good.slice(2))), /element type 99/],
  ["numbers in another file", model(tensor(...good, field(14, 1))), /keeps its numbers in another file/],
  ["numbers in int64_data", model(tensor(good[0]!, field(2, 7), good[2]!, field(7, 5))), /keeps its numbers in int64_data/],
  ["floats of another type", model(tensor(good[0]!, field(2, 7), good[2]!, field(4, new Uint8Array(4)))), /of type I64 in float_data/],
  ["a graph that is a number", field(7, 1), /field 7 should be bytes/],
  ["a length beyond the end", bytesOf([0x3a, 0xff, 0xff, 0xff, 0x7f]), /reaches beyond the message's end/],
  ["a negative length", overlong, /has a length of -1/],
  ["a number without end", new Uint8Array(12).fill(0xff), /more than ten bytes/],
  ["a group", bytesOf([0x0b, 0x0c]), /field 1 has wire type 3/],
  ["field number 0", bytesOf([0x02, 0x00]), /field number 0/],
  ["cut in a number", bytesOf([0x3a, 0x80]), /ends inside a number/],
  ["a long name", model(tensor(...good.slice(0, 2), field(8, "n".repeat(5000)), good[3]!)), /a text of 5000 bytes/],
];
for (const [name, bytes, pattern] of cases) test(`refused: ${name}`, () => rejects(() => open(bytes), pattern));

async function readWhole(damaged: Uint8Array<ArrayBuffer>): Promise<void> {
  const file = await open(damaged);
  for (const name of file.entries.keys()) await file.readFloat32(name);
}

test("mutated models end in a clear error or in tensors", async () => {
  assert.ok((await fuzz(fixture("nudenet/tensors.onnx"), readWhole)) > 0);
  assert.ok((await fuzz(fixture("nudenet/tiny.onnx"), readWhole, Math.ceil(FUZZ_ROUNDS / 3), 7)) > 0);
});

test("mutated NumPy pickles end in a clear error or in numbers", async () => {
  for (const name of ["prompts2.p", "prompts4.p", "prompts5.p"]) {
    const refused = await fuzz(fixture(`q16/${name}`), async (damaged) => readNumpyPickle("x.p", damaged));
    assert.ok(refused > 0);
  }
});

/** A pickle of protocol 2 read as a NumPy array. */
const load = (...parts: Parameters<typeof bytesOf>): unknown => readNumpyPickle("x.file", bytesOf([0x80, 2], ...parts));
const reconstruct = bytesOf(
  globalName("numpy.core.multiarray", "_reconstruct"),
  globalName("numpy", "ndarray"),
  "K\x00\x85",
  text("b"),
  0x87,
  "R",
);
const dtype = (code: string): Uint8Array => bytesOf(globalName("numpy", "dtype"), text(code), 0x85, "R");
const state = (shape: Uint8Array, type: Uint8Array, data: Uint8Array): Uint8Array => bytesOf("(K\x01", shape, type, 0x89, data, "tb.");
const raw = (length: number): Uint8Array => bytesOf("B", uint32(length), new Uint8Array(length));

test("pickles that are not arrays of floats", async () => {
  assert.equal((load(reconstruct, state(bytesOf("K\x02K\x01\x86"), dtype("f4"), raw(8))) as { shape: number[] }).shape, [2, 1]);
  await rejects(() => load("]."), /pickle of a list, not of a NumPy array/);
  await rejects(() => load(reconstruct, "."), /not of a NumPy array/);
  await rejects(() => load(reconstruct, state(bytesOf("K\x02K\x01\x86"), dtype("O8"), raw(8))), /of type "O8"; floats/);
  await rejects(() => load(reconstruct, state(bytesOf("K\x02K\x01\x86"), dtype("f4"), raw(7))), /with 7 bytes of data/);
  await rejects(() => load(reconstruct, state(bytesOf("K\x02", text("x"), 0x86), dtype("f4"), raw(8))), /NumPy array of shape/);
  await rejects(() => load(globalName("os", "system"), text("x"), 0x85, "R."), /refused/);
});

test.run();
