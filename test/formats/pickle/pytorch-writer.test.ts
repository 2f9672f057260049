// Checkpoints that are written, read by the reader that published files are read by.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../../engine/formats/byte-source.ts";
import { openPyTorch } from "../../../engine/formats/pickle/pytorch.ts";
import { type TorchDict, type TorchTree, torchPieces } from "../../../engine/formats/pickle/pytorch-writer.ts";
import { zipPieces } from "../../../engine/formats/zip/writer.ts";
import { type TensorOnDemand, encodeSafetensors, safetensorsPieces } from "../../../engine/formats/safetensors-writer.ts";
import { joinPieces } from "../../../engine/formats/store.ts";
import { readZipDirectory, zipDataOffset } from "../../../engine/formats/zip/reader.ts";

const floats = (shape: readonly number[], ...values: number[]): TensorOnDemand => ({
  dtype: "F32",
  shape,
  read: () => new Uint8Array(Float32Array.from(values).buffer),
});
const longs = (...values: number[]): TensorOnDemand => ({
  dtype: "I64",
  shape: [1, values.length],
  read: async () => new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
});

async function reopened(tree: TorchDict | ReadonlyMap<string, TorchTree>): ReturnType<typeof openPyTorch> {
  return openPyTorch(bytesSource("x.pt", await joinPieces(torchPieces("some/folder/x.pt", tree))));
}

test("a state dict: names, shapes, types, numbers and order are read as they were written", async () => {
  const file = await reopened(
    new Map([
      ["b.weight", floats([2, 3], 1, 2, 3, 4, 5, 6.5)],
      ["a.ids", longs(0, -1, 2 ** 40)],
      ["é", floats([], 7)],
    ]),
  );
  assert.equal([...file.entries.values()].map(({ name, dtype, shape }) => [name, dtype, shape]), [
    ["b.weight", "F32", [2, 3]],
    ["a.ids", "I64", [1, 3]],
    ["é", "F32", []],
  ]);
  assert.equal([...(await file.readFloat32("b.weight"))], [1, 2, 3, 4, 5, 6.5]);
  assert.equal([...(await file.readFloat64("a.ids"))], [0, -1, 2 ** 40]);
  assert.equal([...(await file.readFloat32("é"))], [7]);
});

test("nested dicts, numbers and texts; a tensor in two places is one storage", async () => {
  const shared = floats([2], 8, 9);
  const bytes = await joinPieces(torchPieces("x.pt", { unet: { w: shared, again: shared }, epoch: 3, of: "church" }));
  const directory = await readZipDirectory(bytesSource("x.pt", bytes));
  assert.equal([...directory.keys()], ["archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version"]);
  const file = await openPyTorch(bytesSource("x.pt", bytes));
  const names = [...file.entries.keys()];
  assert.is(names.length, 2);
  for (const name of names) assert.equal([...(await file.readFloat32(name))], [8, 9]);
  assert.is(file.metadata["epoch"], "3");
});

test("data lies at multiples of 64 bytes, as torch.save puts it", async () => {
  const bytes = await joinPieces(torchPieces("a-name-of-some-length.pt", { a: floats([3], 1, 2, 3), bc: floats([1], 1), d: longs(1, 2) }));
  const source = bytesSource("x", bytes);
  for (const entry of (await readZipDirectory(source)).values()) assert.is((await zipDataOffset(source, entry)) % 64, 0, entry.name);
});

test("what does not fit is refused, naming the file", async () => {
  const refused = async (tree: TorchDict): Promise<string> => joinPieces(torchPieces("x.pt", tree)).then(() => "", (e: Error) => e.message);
  assert.match(await refused({ a: { ...floats([3], 1, 2), shape: [3] } }), /x\.pt.*shape \[3\].*takes 12 bytes, not 8/);
  assert.match(await refused({ a: { dtype: "U64", shape: [1], read: () => new Uint8Array(8) } }), /x\.pt.*U64/);
  assert.match(await refused({ a: 0.5 }), /x\.pt.*0\.5/);
});

test("many entries: beyond 65,535 the directory is zip64's", async () => {
  const count = 65_600;
  const parts = Array.from({ length: count }, (_, i) => ({ name: String(i), read: () => Uint8Array.of(i & 255) }));
  const source = bytesSource("x.zip", await joinPieces(zipPieces(parts)));
  const directory = await readZipDirectory(source);
  assert.is(directory.size, count);
  const last = directory.get(String(count - 1))!;
  assert.is((await source.read(await zipDataOffset(source, last), 1))[0], (count - 1) & 255);
});

test("safetensors piece by piece are the bytes of the whole", async () => {
  const [a, b] = [floats([2], 1, 2), longs(3)];
  const whole = encodeSafetensors(
    "x",
    { a: { ...a, data: await a.read() }, b: { ...b, data: await b.read() } },
    { format: "pt" },
  );
  assert.equal(await joinPieces(safetensorsPieces("x", { a, b }, { format: "pt" })), whole);
  const short = { ...a, shape: [3] };
  assert.match(await joinPieces(safetensorsPieces("x", { short })).then(() => "", (e: Error) => e.message), /"short".*12 bytes, but 8/);
});

test.run();
