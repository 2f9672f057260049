import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { blobSource, bytesSource, readAll } from "../../engine/formats/byte-source.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { memoryFiles, readJsonObject, readTextFile } from "../../engine/formats/file-system.ts";
import { parseJsonLines, formatJsonLine } from "../../engine/formats/text/jsonl.ts";
import { openTensorFile, openTensorPath } from "../../engine/formats/open.ts";
import {
  makeFolder,
  nodeFiles,
  openFile,
  openLineWriter,
  readBytes,
  readJson,
  readText,
  sha256File,
  writeFileAtomic,
} from "../../engine/platform/node-files.ts";
import { bytesOf, fixtureBytes, rejects, source } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "formats-"));
const path = (name: string): string => join(folder, name);
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("ranges of memory, a blob and a file are the same, and none reaches beyond the end", async () => {
  const bytes = bytesOf("0123456789");
  writeFileSync(path("ten"), bytes);
  for (const one of [bytesSource("x.file", bytes), blobSource("x.file", new Blob([bytes])), await openFile(path("ten"))]) {
    assert.equal([one.size, [...(await one.read(3, 4))], (await one.read(10, 0)).length], [10, [...bytesOf("3456")], 0]);
    assert.equal((await readAll(one)).length, 10);
    for (const [offset, length] of [[8, 3], [-1, 2], [0.5, 1], [11, 0], [0, -1], [NaN, 1]] as const) {
      let error: unknown;
      await one.read(offset, length).catch((thrown: unknown) => (error = thrown));
      assert.instance(error, FormatError);
    }
    await one.close();
    await one.close();
  }
  const copy = await bytesSource("x.file", bytes).read(0, 2);
  copy[0] = 0;
  assert.is(bytes[0], 0x30, "the caller owns what it read");
  await rejects(() => readAll(bytesSource("x.file", bytes), 5), /has 10 bytes, more than the 5/);
});

test("a file that shrinks while it is read", async () => {
  writeFileSync(path("shrinking"), new Uint8Array(100));
  const file = await openFile(path("shrinking"));
  truncateSync(path("shrinking"), 50);
  await rejects(() => file.read(40, 20), /became shorter while it was read: nothing at byte 50/, path("shrinking"));
  await file.close();
});

test("what cannot be opened, listed or read says why", async () => {
  await rejects(() => openFile(path("none")), /cannot be opened: no such file or folder/, path("none"));
  await rejects(() => openFile(folder), /is a folder, not a file/, folder);
  await rejects(() => nodeFiles.list(path("none")), /cannot be listed: no such file or folder/, path("none"));
  await rejects(() => sha256File(path("none")), /cannot be read: no such file/, path("none"));
  await rejects(() => readJson(path("none")), /no such file/, path("none"));
  writeFileSync(path("bad.json"), '{"a": }');
  await rejects(() => readJson(path("bad.json")), /is not valid JSON: /, path("bad.json"));
  writeFileSync(path("latin1"), bytesOf(0xe9));
  await rejects(() => readText(path("latin1")), /is not UTF-8 text/, path("latin1"));
  writeFileSync(path("bom"), bytesOf(0xef, 0xbb, 0xbf, "{}"));
  assert.is(await readText(path("bom")), "{}");
  assert.equal(await readJson(path("bom")), {});
});

test("a file is written whole or not at all, and nothing else is left in the folder", async () => {
  await makeFolder(path("out/deep"));
  await makeFolder(path("out/deep"));
  const target = path("out/deep/a.txt");
  await writeFileAtomic(target, "first é");
  await writeFileAtomic(target, bytesOf("second"));
  assert.is(readFileSync(target, "utf8"), "second");
  await rejects(() => writeFileAtomic(join(target, "b.txt"), "x"), /cannot be made a folder/, target);
  await rejects(() => writeFileAtomic(path("out/deep"), "x"), /cannot be written: /, path("out/deep"));
  await rejects(() => makeFolder(target), /cannot be made a folder/, target);
  assert.equal(readdirSync(path("out/deep")), ["a.txt"]);
  await writeFileAtomic(path("out/made/for/it.txt"), "x");
  assert.equal(readdirSync(path("out")), ["deep", "made"]);
  assert.equal(readdirSync(path("out/made/for")), ["it.txt"]);
  assert.equal([...(await readBytes(target))], [...bytesOf("second")]);
});

test("folders that several make at once, one below the other", async () => {
  for (let round = 0; round < 20; round++) {
    const siblings = Array.from({ length: 16 }, (_, i) => path(`race/${round}/a/b/${i}`));
    await Promise.all(siblings.map(makeFolder));
    assert.is(readdirSync(path(`race/${round}/a/b`)).length, siblings.length);
  }
});

test("a log is on the disk line by line, survives being cut, and goes on after its last whole line", () => {
  const log = path("log.jsonl");
  const first = openLineWriter(log);
  first.write(formatJsonLine({ a: 1 }));
  first.write('{"a":2}');
  assert.is(readFileSync(log, "utf8"), '{"a":1}\n{"a":2}\n');
  first.close();
  first.close();
  assert.throws(() => first.write("x"), /the log is closed/);
  writeFileSync(log, `${readFileSync(log, "utf8")}{"a":3,"tex`);
  assert.equal(parseJsonLines(log, readFileSync(log, "utf8")), { records: [{ a: 1 }, { a: 2 }], torn: true });
  const again = openLineWriter(log);
  again.write('{"a":4}');
  again.close();
  assert.equal(parseJsonLines(log, readFileSync(log, "utf8")), { records: [{ a: 1 }, { a: 2 }, { a: 4 }], torn: false });
  for (const [content, kept] of [["torn only", ""], ["", ""], [`a\n${"x".repeat(200_000)}`, "a\n"]] as const) {
    writeFileSync(log, content);
    openLineWriter(log).close();
    assert.is(readFileSync(log, "utf8"), kept);
  }
  openLineWriter(path("new.jsonl")).close();
  assert.ok(existsSync(path("new.jsonl")));
  assert.throws(() => openLineWriter(path("none/log.jsonl")), /cannot be written: no such file or folder/);
  assert.throws(() => parseJsonLines("x.file", '{"a":1}\n{"a":\n{"a":3}\n'), /x.file: line 2 is not JSON/);
});

test("sha256", async () => {
  writeFileSync(path("abc"), "abc");
  assert.is(await sha256File(path("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

test("files in memory have folders", async () => {
  const files = memoryFiles({ "model/unet/config.json": '{"a": 1}', "./model//index.json": "[]", "model/b.bin": new Blob(["xy"]) });
  assert.equal(await files.list("model/"), ["b.bin", "index.json", "unet/"]);
  assert.equal(await files.list(""), ["model/"]);
  assert.equal([await files.kind("model/unet"), await files.kind("model/b.bin"), await files.kind("mod")], ["folder", "file", undefined]);
  assert.equal(await readJsonObject(files, "model/unet/config.json"), { a: 1 });
  assert.is(await readTextFile(files, "model/b.bin"), "xy");
  await rejects(() => readJsonObject(files, "model/index.json"), /should hold a JSON object, but holds an array/, "model/index.json");
  await rejects(() => files.open("model"), /is a folder, not a file/, "model");
  await rejects(() => files.open("x.file"), /no such file/);
  await rejects(() => files.list("x.file"), /no such folder/);
});

test("the disk looks the same", async () => {
  assert.equal(await nodeFiles.list("assets/emoji/unet"), ["config.json", "diffusion_pytorch_model.safetensors"]);
  assert.ok((await nodeFiles.list("assets/emoji")).includes("unet/"));
  assert.equal(
    [
      await nodeFiles.kind("assets/emoji"),
      await nodeFiles.kind("package.json"),
      await nodeFiles.kind("package.json/x"),
      await nodeFiles.kind("none"),
    ],
    ["folder", "file", undefined, undefined],
  );
});

test("a file of tensors is known by its content, and anything else is described", async () => {
  assert.is((await openTensorFile(source(fixtureBytes("plain.safetensors")))).entries.size, 13);
  assert.is((await openTensorFile(source(fixtureBytes("torch/protocol4.pt")))).entries.size, 2);
  assert.is((await openTensorFile(source(fixtureBytes("torch/legacy.pt")))).entries.size, 22);
  const cases: [Uint8Array, RegExp][] = [
    [bytesOf(), /neither a safetensors file nor a PyTorch checkpoint: it is empty/],
    [fixtureBytes("png/rgb.png"), /looks like a PNG image/],
    [bytesOf("version https://git-lfs.github.com/spec/v1"), /Git LFS pointer, not the file itself/],
    [bytesOf("<!DOCTYPE html><html>"), /an HTML page/],
    [bytesOf(0x89, "HDF\r\n\x1a\n", 0, 0), /an HDF5 file/],
    [bytesOf("GGUF", 3, 0, 0, 0), /a GGUF model/],
    [bytesOf('{"a":1,"b":2}'), /looks like JSON/],
    [bytesOf(0x80, 4, 0x95, 1), /a bare Python pickle/],
    [new Uint8Array(4096), /nothing but zeros/],
    [bytesOf("\x1f\x8b\x08"), /gzip/],
  ];
  for (const [bytes, pattern] of cases) await rejects(() => openTensorFile(source(bytes)), pattern);
  await rejects(() => openTensorPath(nodeFiles, "assets/emoji"), /is a folder/, "assets/emoji");
});

test("an error is one printable line", () => {
  const error = new FormatError("a\nb", `x\u0000y\u2028z\u202ew${"q".repeat(5000)}`);
  assert.match(error.message, /^a\?b: x\?y\?z\?wq+\.\.\.$/);
  assert.ok(error.message.length < 2100);
  assert.equal([error.exitCode, error.name], [2, "FormatError"]);
});

test.run();
