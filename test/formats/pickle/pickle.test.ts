/** Hostile pickles and archives: each is refused with a clear error, none runs anything, none takes long. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { unpickle } from "../../../engine/formats/pickle/pickle.ts";
import { PickleDict, PickleList, PickleTuple, type PickleValue } from "../../../engine/formats/pickle/values.ts";
import { openPyTorch } from "../../../engine/formats/pickle/pytorch.ts";
import { torchHost } from "../../../engine/formats/pickle/torch-values.ts";
import { bytesOf, globalName, rejects, source, text, torchZip, uint32, zipOf } from "../support.ts";

const P2 = [0x80, 2];
const load = (...parts: Parameters<typeof bytesOf>): PickleValue => unpickle("x.file", bytesOf(P2, ...parts), torchHost("x.file")).value;

function tuple(values: readonly number[]): Uint8Array {
  return bytesOf("(", ...values.map((value) => bytesOf("J", uint32(value))), "t");
}

/** torch._utils._rebuild_tensor_v2 over storage "0" of `count` float32. Shape and stride are small. */
function tensorPickle(
  count: number,
  shape: readonly number[],
  strides: readonly number[],
  offset = 0,
  storage = "FloatStorage",
): Uint8Array {
  return bytesOf(
    globalName("torch._utils", "_rebuild_tensor_v2"),
    "((",
    text("storage"),
    globalName("torch", storage),
    text("0"),
    text("cpu"),
    "J",
    uint32(count),
    "tQ",
    "J",
    uint32(offset),
    tuple(shape),
    tuple(strides),
    0x89,
    globalName("collections", "OrderedDict"),
    ")RtR",
  );
}
const dictOf = (value: Uint8Array): Uint8Array => bytesOf(P2, "}", text("w"), value, "s.");
const opened = (pickle: Uint8Array, storages?: Record<string, Uint8Array>): Promise<unknown> =>
  openPyTorch(source(torchZip(pickle, storages)));

test("plain values of every opcode", () => {
  assert.is(load("N."), null);
  assert.is(load("J", uint32(-5 >>> 0), "."), -5);
  assert.is(load("M", 1, 2, "."), 513);
  assert.is(load(0x8a, 0, "."), 0);
  assert.is(load(0x8a, 1, 0xff, "."), -1);
  assert.is(load(0x8a, 9, [0, 0, 0, 0, 0, 0, 0, 0, 1], "."), 2n ** 64n);
  assert.is(load(0x8b, uint32(2), [0, 0x80], "."), -32768);
  assert.is(load("G", [0x40, 9, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18], "."), Math.PI);
  assert.is(load("T", uint32(2), "\xe9a", "."), "éa");
  assert.is(load(0x8c, 2, [0xc3, 0xa9], "."), "é");
  assert.equal((load("(K\x01K\x02l.") as PickleList).items, [1, 2]);
  assert.equal((load("]q\x00(K\x01h\x00K\x02e0h\x00.") as PickleList).items.length, 3);
  assert.equal([...(load("(", text("a"), "K\x01d.") as PickleDict).items], [["a", 1]]);
  assert.equal((load("K\x01K\x02\x86.") as PickleTuple).items, [1, 2]);
  assert.equal((load("(K\x01K\x021K\x07.") as number), 7);
});

const refused: [string, string][] = [
  ["os", "system"],
  ["posix", "system"],
  ["nt", "system"],
  ["subprocess", "Popen"],
  ["builtins", "eval"],
  ["builtins", "exec"],
  ["__builtin__", "eval"],
  ["builtins", "getattr"],
  ["builtins", "__import__"],
  ["runpy", "run_path"],
  ["importlib", "import_module"],
  ["shutil", "rmtree"],
  ["ctypes", "CDLL"],
  ["pickle", "loads"],
  ["functools", "partial"],
  ["operator", "attrgetter"],
  ["webbrowser", "open"],
  ["socket", "socket"],
  ["urllib.request", "urlopen"],
  ["collections", "OrderedDict.__init__.__globals__"],
  ["os.path", "join"],
  ["", "x"],
];
for (const [module, name] of refused) {
  test(`refused: ${module}.${name}`, async () => {
    await rejects(() => load(globalName(module, name), text("echo x"), 0x85, "R."), /refused: its pickle names .*which could run code/);
    await rejects(() => load(text(module), text(name), 0x93, "."), /refused/);
    await rejects(() => opened(bytesOf(P2, globalName(module, name), text("echo x"), 0x85, "R."), {}), /refused: its pickle names/);
  });
}
for (const [module, name] of [
  ["torch", "load"],
  ["torch.hub", "load"],
  ["torch.utils.model_zoo", "load_url"],
  ["numpy", "load"],
  ["numpy.testing._private.utils", "runstring"],
  ["some_package", "do_something"],
  ["torch._utils", "_import_dotted_name"],
] as const) {
  test(`refused to be called: ${module}.${name}`, () => rejects(() => load(globalName(module, name), ")R."), /refused: its pickle calls/));
}

const malformed: [string, Uint8Array, RegExp][] = [
  ["ends at once", bytesOf(P2), /1 bytes are wanted/],
  ["protocol 9", bytesOf(0x80, 9, "."), /protocol 9 is not known/],
  ["protocol 0", bytesOf("I1\n."), /opcode "I" of pickle protocol 0 or 1/],
  ["unknown opcode", bytesOf(0xff), /opcode 0xff is not allowed/],
  ["extension registry", bytesOf(P2, 0x82, 1, "."), /opcode 0x82 is not allowed/],
  ["empty stack", bytesOf(P2, "."), /too few values/],
  ["left over", bytesOf(P2, "NN."), /1 values are left over/],
  ["no mark", bytesOf(P2, "t."), /no mark/],
  ["tuple from below a mark", bytesOf(P2, "N(\x85."), /too few values/],
  ["memo never set", bytesOf(P2, "h\x05."), /memo 5 was never set/],
  ["call of a number", bytesOf(P2, "K\x01)R."), /a number is called/],
  ["call of a tensor's class with a list", bytesOf(P2, globalName("torch", "Size"), "]R."), /arguments should be a tuple, not a list/],
  ["append to a number", bytesOf(P2, "K\x01K\x02a."), /items are added to a number/],
  ["key without value", bytesOf(P2, "}(K\x01u."), /a key without a value/],
  ["text of 4 GiB", bytesOf(P2, "X", uint32(0xffffffff), "abc."), /4294967295 bytes are wanted/],
  ["bytes of 2^62", bytesOf(P2, 0x8e, [0, 0, 0, 0, 0, 0, 0, 0x40], "."), /4611686018427387904 bytes is claimed/],
  ["integer of 2^31 bytes", bytesOf(P2, 0x8b, uint32(0x80000000), "."), /an integer of 2147483648 bytes/],
  ["endless name", bytesOf(P2, "c", "a".repeat(5000)), /a name of more than 1024 characters/],
  ["persistent id that is not a storage", bytesOf(P2, "K\x01Q."), /outside its pickle that is not a tensor storage/],
  ["a million marks and more", bytesOf(P2, "(".repeat(1_000_001)), /more than 1000000 values on the stack/],
  ["a million values and more", bytesOf(P2, "N".repeat(1_000_001)), /more than 1000000 values on the stack/],
  ["a million objects and more", bytesOf(P2, "(", "}0".repeat(1_000_001)), /more than 1000000 objects/],
];
for (const [name, bytes, pattern] of malformed) {
  test(`malformed: ${name}`, () => rejects(() => unpickle("x.file", bytes, torchHost("x.file")), pattern));
}

test("tensors are held to their storage", async () => {
  const data = { 0: new Uint8Array(24) };
  await opened(dictOf(tensorPickle(6, [2, 3], [3, 1])), data);
  await opened(dictOf(tensorPickle(6, [0, 3], [3, 1])), data);
  const cases: [Uint8Array, RegExp][] = [
    [tensorPickle(6, [7], [1]), /reaches element 6, but the storage has 6/],
    [tensorPickle(6, [2], [1], 5), /reaches element 6/],
    [tensorPickle(6, [2], [0x7fffffff]), /reaches element 2147483647/],
    [tensorPickle(6, [2], [-1 >>> 0]), /malformed shape, stride or offset/],
    [tensorPickle(6, [-2 >>> 0], [1]), /malformed/],
    [tensorPickle(6, [2, 3], [1]), /malformed/],
    [tensorPickle(6, [65536, 65536], [0, 0]), /repeats 6 stored elements 4294967296 times over/],
    [tensorPickle(6, [0x7fffffff, 0x7fffffff, 0x7fffffff], [0, 0, 0]), /malformed/],
    [tensorPickle(6, Array.from({ length: 65 }, () => 1), Array.from({ length: 65 }, () => 1)), /malformed/],
    [tensorPickle(7, [2], [1]), /storage "0" should have 28 bytes, but has 24/],
    [tensorPickle(6, [2], [1], 0, "ComplexFloatStorage"), /is of type "torch.ComplexFloatStorage", which is not supported/],
    [tensorPickle(6, [2], [1], 0, "UntypedStorage"), /unsupported element type/],
  ];
  for (const [tensor, pattern] of cases) await rejects(() => opened(dictOf(tensor), data), pattern);
  await rejects(() => opened(dictOf(tensorPickle(6, [2], [1]))), /storage "0" is missing/);
});

test("containers inside themselves, deep nesting, and exponential sharing end in an error", async () => {
  await rejects(() => opened(bytesOf(P2, "}q\x00", text("a"), "h\x00s.")), /nested more than 64 deep, or hold themselves/);
  await rejects(() => opened(bytesOf(P2, "]".repeat(5000), "a".repeat(4999), ".")), /nested more than 64 deep/);
  // Thirty levels, each a pair of the one before: a billion paths.
  const laughs = bytesOf(P2, "]q\x00", ...Array.from({ length: 30 }, (_, i) => bytesOf("0h", i, "h", i, 0x86, "q", i + 1)), ".");
  const started = process.cpuUsage();
  await rejects(() => opened(laughs), /more than 4000000 values/);
  assert.ok(process.cpuUsage(started).user < 5e6);
  // The same below a wrapper key, which is looked into first.
  await rejects(() => opened(bytesOf(P2, "}", text("model"), "}", text("x"), laughs.subarray(2, -1), "ss.")), /more than 4000000 values/);
});

test("calls cannot copy without end", () => {
  // An OrderedDict from one list of a thousand pairs, two thousand times over.
  const pair = bytesOf("K\x01K\x01\x86");
  const bytes = bytesOf(
    "]q\x00(",
    ...Array.from({ length: 1000 }, () => pair),
    "e0(",
    ...Array.from({ length: 2000 }, () => bytesOf(globalName("collections", "OrderedDict"), "h\x00\x85R")),
    "t.",
  );
  return rejects(() => load(bytes), /copies more than 1000000 values/);
});

test("archives that are not PyTorch's", async () => {
  const pickle = dictOf(tensorPickle(1, [1], [1]));
  const files = { "archive/data.pkl": pickle, "archive/data/0": new Uint8Array(4) };
  const cases: [Uint8Array, RegExp][] = [
    [
      zipOf({ "word/document.xml": bytesOf("<x/>") }),
      /zip archive with 0 data.pkl entries, so no PyTorch checkpoint; it holds "word\/document.xml"/,
    ],
    [zipOf({}), /with 0 data.pkl entries/],
    [zipOf({ "a/data.pkl": pickle, "b/data.pkl": pickle }), /with 2 data.pkl entries/],
    [zipOf({ ...files, "archive/constants.pkl": pickle }), /TorchScript program/],
    [zipOf(files, { method: 8 }), /"archive\/data.pkl" is compressed \(method 8\)/],
    [zipOf(files, { flags: 1 }), /is encrypted/],
    [zipOf(files, { size: 0x7fffffff }), /reaches beyond byte/],
    [zipOf(files, { offset: () => 0 }), /reaches beyond byte 0/],
    [zipOf(files, { offset: (_, offset) => offset + 1 }), /reaches beyond|has no header/],
    [zipOf({ ...files, "archive/byteorder": bytesOf("middle") }), /should say "little" or "big", not "middle"/],
    [zipOf(files).subarray(0, -30), /no directory at its end; the file is truncated/],
  ];
  for (const [bytes, pattern] of cases) await rejects(() => openPyTorch(source(bytes)), pattern);
  const twice = zipOf({ "archive/data.pkl": pickle, "archive/dataXpkl": pickle }).map((byte) => (byte === 0x58 ? 0x2e : byte));
  await rejects(() => openPyTorch(source(twice)), /twice|data.pkl/);
});

test.run();
