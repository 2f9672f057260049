import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { encodeSafetensors, type TensorToWrite } from "../../engine/formats/safetensors-writer.ts";
import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { bytesOf, expected, fixtureBytes, fuzz, FUZZ_ROUNDS, rejects, source, toHex } from "./support.ts";

/** A file with any header text and any data. */
function withHeader(header: string, dataBytes = 0, claimed: bigint | number = Buffer.byteLength(header)): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(claimed), true);
  return bytesOf(length, new TextEncoder().encode(header), new Uint8Array(dataBytes));
}
const tensor = (begin: number, end: number, shape = "[1]", dtype = "F32"): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

test("every type, as the official library wrote it", async () => {
  const file = await openSafetensors(source(fixtureBytes("plain.safetensors")));
  assert.equal(file.metadata, { format: "pt" });
  for (const [name, entry] of file.entries) {
    const want = expected.state_dict[name]!;
    assert.equal([entry.dtype, [...entry.shape], toHex(await file.readBytes(name))], [want.dtype, want.shape, want.hex], name);
  }
  assert.is(file.entries.size, 13);
  const floats = [0, -0, 1, -2.5, Infinity, -Infinity, 65504, Math.fround(6e-8), Math.fround(6.1e-5)];
  assert.equal([...(await file.readFloat32("F32"))], floats);
  assert.equal([...(await file.readFloat32("F64"))], floats);
  assert.is((await file.readFloat64("I64.large"))[0], 2 ** 40);
  assert.equal([...(await file.readFloat32("F16"))].slice(0, 8), [0, -0, 1, -2.5, Infinity, -Infinity, 65504, 2 ** -24]);
  assert.equal([...(await file.readFloat32("BF16"))].slice(0, 7), [0, -0, 1, -2.5, Infinity, -Infinity, 65536]);
  for (const dtype of ["I64", "I32", "I16", "I8", "U8"]) {
    assert.equal([...(await file.readInts(dtype))], [0, 1, 2, 3, 100, 127]);
    assert.equal([...(await file.readFloat32(dtype))], [0, 1, 2, 3, 100, 127]);
  }
  assert.equal([...(await file.readInts("BOOL"))], [0, 1, 1, 1, 1, 1]);
  assert.equal([...(await file.readFloat16("F32"))], [0, 0x8000, 0x3c00, 0xc100, 0x7c00, 0xfc00, 0x7bff, 1, 0x3ff]);
  assert.equal([...(await file.readFloat16("F16"))], [...(await file.readFloat16("F32"))]);
  assert.is((await file.readFloat32("empty")).length, 0);
  await rejects(() => file.readInts("F16"), /"F16" is of type F16; integers are expected/);
  await rejects(() => file.readInts("I64.large"), /"I64.large" holds 1099511627776, which is outside int32/);
  await rejects(() => file.readFloat32("nothing"), /has no tensor "nothing"; it has 13, among them/);
});

test("the writer gives the official writer's bytes", async () => {
  const official = fixtureBytes("plain.safetensors");
  const file = await openSafetensors(source(official));
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, { dtype, shape }] of file.entries) tensors[name] = { dtype, shape, data: await file.readBytes(name) };
  assert.is(toHex(encodeSafetensors("x", tensors, file.metadata)), toHex(official));
  assert.throws(
    () => encodeSafetensors("x.file", { a: { dtype: "F32", shape: [2], data: new Float32Array(3) } }),
    /"a" of shape \[2\] and dtype F32 takes 8 bytes, but 12 are given/,
  );
});

test("round trip of names that need escaping, unaligned views and F8", async () => {
  const name = 'a "quoted"\n\u0000 é ⛪ \\';
  const odd = new Uint8Array([9, 1, 2, 3]).subarray(1);
  const bytes = encodeSafetensors("x", {
    [name]: { dtype: "F32", shape: [1, 1], data: new Float32Array([0.1]) },
    __proto__x: { dtype: "U8", shape: [3], data: odd },
    f8: { dtype: "F8_E4M3", shape: [1], data: odd.subarray(0, 1) },
  });
  const file = await openSafetensors(source(bytes));
  assert.equal([...(await file.readFloat32(name))], [Math.fround(0.1)]);
  assert.equal([...(await file.readBytes("__proto__x"))], [1, 2, 3]);
  await rejects(() => file.readFloat32("f8"), /"f8" is of type F8_E4M3, which is not supported/);
});

const one = (value: number): TensorToWrite => ({ dtype: "F32", shape: [1], data: new Float32Array([value]) });
const index = (map: object): string => JSON.stringify({ metadata: { total_size: 12 }, weight_map: map });

test("a shard index shows its shards as one file", async () => {
  const shards = {
    "m/a.safetensors": encodeSafetensors("a", { x: one(1) }),
    "m/b.safetensors": encodeSafetensors("b", { y: one(2), z: one(3) }),
  };
  const files = (map: object): ReturnType<typeof memoryFiles> => memoryFiles({ ...shards, "m/m.safetensors.index.json": index(map) });
  const path = "m/m.safetensors.index.json";
  const file = await openTensorPath(files({ x: "a.safetensors", y: "b.safetensors", z: "b.safetensors" }), path);
  assert.equal([...file.entries.keys()], ["x", "y", "z"]);
  assert.equal(file.metadata, { total_size: "12" });
  assert.equal([(await file.readFloat32("x"))[0], (await file.readFloat32("z"))[0]], [1, 3]);
  await file.close();
  await rejects(
    () => openTensorPath(files({ x: "../a.safetensors" }), path),
    /"x" is said to lie in "..\/a.safetensors", which is not a plain file name/,
    path,
  );
  await rejects(() => openTensorPath(files({ x: "b.safetensors" }), path), /"x" should be in "b.safetensors", but is not/, path);
  await rejects(() => openTensorPath(files({ x: "c.safetensors" }), path), /no such file/, "m/c.safetensors");
  await rejects(() => openTensorPath(memoryFiles({ [path]: "[]" }), path), /should hold a JSON object, but holds an array/, path);
});

const hostile: [string, Uint8Array, RegExp][] = [
  ["empty", bytesOf(), /it has 0 bytes/],
  ["header of 2^60 bytes", withHeader("{}", 0, 2n ** 60n), /claims 1152921504606846976 bytes, but 2 follow/],
  ["header of 2^64-1 bytes", withHeader("{}", 0, 2n ** 64n - 1n), /claims 18446744073709551615 bytes/],
  ["header one byte too long", withHeader("{}", 0, 3), /claims 3 bytes, but 2 follow/],
  ["cut off in the header", withHeader('{"a":', 0, 100), /truncated or corrupt/],
  ["no JSON", withHeader("{a}"), /not valid JSON/],
  ["header not UTF-8", bytesOf(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe), /not UTF-8/],
  ["array", withHeader("[]"), /should begin with "\{"/],
  ["tensor described by a number", withHeader('{"a":1}'), /"a" should be described by an object/],
  ["unknown dtype", withHeader(`{"a":${tensor(0, 4, "[1]", "F31")}}`, 4), /unknown dtype/],
  ["dtype of Object's own", withHeader(`{"a":${tensor(0, 4, "[1]", "toString")}}`, 4), /unknown dtype/],
  ["negative dimension", withHeader(`{"a":${tensor(0, 4, "[-1]")}}`, 4), /no proper shape/],
  ["fractional dimension", withHeader(`{"a":${tensor(0, 4, "[1.5]")}}`, 4), /no proper shape/],
  ["dimension beyond 2^53", withHeader(`{"a":${tensor(0, 4, "[1e300]")}}`, 4), /no proper shape/],
  ["product overflow", withHeader(`{"a":${tensor(0, 4, "[4294967296,4294967296]")}}`, 4), /more elements than can be counted/],
  [
    "product that wraps to the right size in 64 bits",
    withHeader(`{"a":${tensor(0, 0, "[4611686018427387904,4]")}}`),
    /no proper shape|can be counted/,
  ],
  ["shape and range disagree", withHeader(`{"a":${tensor(0, 8)}}`, 8), /takes 4 bytes, but its data_offsets span 8/],
  ["range reversed", withHeader(`{"a":${tensor(4, 0)}}`, 4), /no proper data_offsets/],
  ["three offsets", withHeader('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', 4), /no proper data_offsets/],
  [
    "range beyond the file",
    withHeader(`{"a":${tensor(0, 400, "[100]")}}`, 4),
    /take 400 bytes, but the file has 4 after its header; it is truncated/,
  ],
  ["overlap", withHeader(`{"a":${tensor(0, 8, "[2]")},"b":${tensor(4, 12, "[2]")}}`, 12), /ranges overlap/],
  ["same range twice", withHeader(`{"a":${tensor(0, 4)},"b":${tensor(0, 4)}}`, 4), /ranges overlap/],
  ["gap", withHeader(`{"a":${tensor(0, 4)},"b":${tensor(8, 12)}}`, 12), /there is a gap/],
  ["gap at the start", withHeader(`{"a":${tensor(4, 8)}}`, 8), /the header ends at 0: there is a gap/],
  ["bytes left over", withHeader(`{"a":${tensor(0, 4)}}`, 5), /the file has 5 after its header; it is corrupt/],
  ["duplicate name", withHeader(`{"a":${tensor(0, 4)},"a":${tensor(0, 4)}}`, 4), /names "a" twice/],
  ["duplicate name, escaped", withHeader(`{"a":${tensor(0, 4)},"\\u0061":${tensor(0, 4)}}`, 4), /names "a" twice/],
  ["metadata that is not text", withHeader('{"__metadata__":{"a":1}}'), /"a" should be a string, not a number/],
  ["deep nesting", withHeader(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`), /should be described by an object/],
];
for (const [name, bytes, pattern] of hostile) test(`hostile: ${name}`, () => rejects(() => openSafetensors(source(bytes)), pattern));

test("an empty tensor between two others, and keys that look like structure", async () => {
  const file = await openSafetensors(
    source(
      withHeader(
        `{"a":${tensor(0, 4)},"e":${tensor(4, 4, "[0,9007199254740991]")},"{\\",\\"b":${tensor(4, 8)},"__proto__":${tensor(8, 12)}}`,
        12,
      ),
    ),
  );
  assert.equal([...file.entries.keys()], ["a", "e", '{","b', "__proto__"]);
});

test(`${FUZZ_ROUNDS} mutations: always a FormatError or a readable file`, async () => {
  const refused = await fuzz(fixtureBytes("plain.safetensors"), async (bytes) => {
    const file = await openSafetensors(bytesSource("x.file", bytes));
    for (const name of file.entries.keys()) await file.readFloat32(name);
  });
  assert.ok(refused > FUZZ_ROUNDS / 4, `only ${refused} refused`);
});

test("the bundled model's weights", async () => {
  const file = await openTensorPath(nodeFiles, "assets/emoji/unet/diffusion_pytorch_model.safetensors");
  const { shape, dtype } = file.entries.get("conv_in.weight")!;
  assert.equal([dtype, [...shape]], ["F16", [48, 4, 3, 3]]);
  let sum = 0;
  for (const name of file.entries.keys()) sum += (await file.readFloat32(name)).length;
  assert.ok(Math.abs(sum / 3.01e6 - 1) < 0.01, String(sum));
  await file.close();
});

test.run();
