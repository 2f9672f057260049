import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ByteSource } from "../../../engine/formats/byte-source.ts";
import { openTensorPath } from "../../../engine/formats/open.ts";
import { PickleDict, PickleList, PickleObject, PickleSet } from "../../../engine/formats/pickle/values.ts";
import { openPyTorch } from "../../../engine/formats/pickle/pytorch.ts";
import { readZipDirectory, zipDataOffset } from "../../../engine/formats/zip/reader.ts";
import { nodeFiles } from "../../../engine/platform/node-files.ts";
import { bytesOf, expected, fixtureBytes, fuzz, FUZZ_ROUNDS, rejects, source, toHex, torchZip, type ExpectedTensor } from "../support.ts";

async function compare(name: string, want: Record<string, ExpectedTensor>): Promise<void> {
  const file = await openPyTorch(source(fixtureBytes(`torch/${name}`)));
  assert.equal([...file.entries.keys()].toSorted(), Object.keys(want).toSorted());
  for (const [key, { dtype, shape, hex }] of Object.entries(want)) {
    const entry = file.entries.get(key)!;
    assert.equal([entry.dtype, [...entry.shape], entry.byteLength], [dtype, shape, hex.length / 2], key);
    assert.is(toHex(await file.readBytes(key)), hex, key);
  }
}

for (const name of ["state_dict.pt", "legacy.pt"]) {
  test(`${name}: every type, transposed, sliced, expanded, permuted, shared`, () => compare(name, expected.state_dict));
}
for (const name of ["protocol3.pt", "protocol4.pt", "protocol5.pt", "zip64.pt", "big_endian.pt"]) {
  test(name, () => compare(name, expected.small));
}

test("zip64.pt is zip64", () => assert.ok(toHex(fixtureBytes("torch/zip64.pt")).includes("504b0606")));

test("a Lightning checkpoint: weights unwrapped, the rest under its path, unknown classes inert", async () => {
  const file = await openPyTorch(source(fixtureBytes("torch/lightning.ckpt")));
  for (const [key, { hex }] of Object.entries(expected.lightning)) assert.is(toHex(await file.readBytes(key)), hex, key);
  assert.is(toHex(await file.readBytes("optimizer_states.0.state.0.exp_avg")), expected.lightning_exp_avg.hex);
  assert.equal([file.metadata["epoch"], file.metadata["global_step"], file.metadata["pytorch-lightning_version"]], ["5", "1234", "1.4.2"]);
  const root = file.root as PickleDict;
  const item = (key: string): unknown => root.items.get(key);
  assert.instance(item("state_dict"), PickleDict);
  assert.instance(item("optimizer_states"), PickleList);
  const callback = (item("callbacks") as PickleDict).items.get("object");
  assert.instance(callback, PickleObject);
  assert.is((callback as PickleObject).type.path, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint");
  assert.is((item("hyper_parameters") as PickleObject).entries.get("lr"), 0.1);
  assert.is(item("big"), 2n ** 80n);
  assert.equal([...(item("blob") as Uint8Array)], [0, 255, 97, 98, 99]);
  assert.ok(item("flags") instanceof PickleSet || item("flags") instanceof PickleObject);
});

test("a bare tensor, and a whole module", async () => {
  const file = await openPyTorch(source(fixtureBytes("torch/bare_tensor.pt")));
  assert.equal([...(await file.readInts("tensor"))], [0, 1, 2]);
  const whole = await openPyTorch(source(fixtureBytes("torch/whole_module.pt")));
  assert.equal([...whole.entries.values()].map(({ name, shape }) => `${name} ${shape.join("x")}`), ["weight 2x2", "bias 2"]);
});

test("the bundled esd-x checkpoint matches its base in names and shapes and differs in cross attention only", async () => {
  const base = await openTensorPath(nodeFiles, "assets/emoji/unet/diffusion_pytorch_model.safetensors");
  const unlearned = await openTensorPath(nodeFiles, "assets/emoji/unlearned/esd-x-church/ESDx-church-UNet.pt");
  assert.equal([...unlearned.entries.keys()].toSorted(), [...base.entries.keys()].toSorted());
  let changed = 0;
  for (const [name, entry] of base.entries) {
    assert.equal(unlearned.entries.get(name), entry);
    if (toHex(await unlearned.readBytes(name)) === toHex(await base.readBytes(name))) continue;
    changed++;
    assert.match(name, /attn2/);
  }
  assert.ok(changed > 0);
  await base.close();
  await unlearned.close();
});

test("only the ranges asked for are read, so the file may be larger than memory", async () => {
  const bytes = fixtureBytes("torch/state_dict.pt");
  let read = 0;
  const inner = source(bytes);
  const counting: ByteSource = { ...inner, read: (offset, length) => ((read += length), inner.read(offset, length)) };
  const file = await openPyTorch(counting);
  read = 0;
  await file.readBytes("sliced");
  assert.ok(read <= 30 + 24 * 4, `${read} bytes were read`);
});

test("a checkpoint of 5 GiB, of which only kilobytes are touched", async () => {
  const head = fixtureBytes("torch/huge.head");
  const tail = fixtureBytes("torch/huge.tail");
  const size = expected.huge_bytes;
  let touched = 0;
  const file = await openPyTorch({
    name: "x.file", size,
    async read(offset, length) {
      touched += length;
      const out = new Uint8Array(length);
      for (const [part, start] of [[head, 0], [tail, size - tail.length]] as const) {
        const from = Math.max(offset, start), to = Math.min(offset + length, start + part.length);
        if (to > from) out.set(part.subarray(from - start, to - start), from - offset);
      }
      return out;
    },
    close: async () => undefined,
  });
  assert.is(file.entries.get("huge")!.byteLength, 5 * 2 ** 30);
  assert.equal([...(await file.readFloat32("small"))], [0, 1, 2, 3, 4, 5]);
  assert.ok(touched < 70_000, `${touched} bytes`);
});

for (const name of ["state_dict.pt", "legacy.pt", "lightning.ckpt", "zip64.pt", "whole_module.pt"]) {
  test(`${FUZZ_ROUNDS} mutations of ${name}: always a FormatError or a readable file`, async () => {
    const refused = await fuzz(fixtureBytes(`torch/${name}`), async (bytes) => {
      const file = await openPyTorch(source(bytes));
      for (const key of file.entries.keys()) await file.readFloat32(key);
    });
    assert.ok(refused > FUZZ_ROUNDS / 10, `only ${refused} refused`);
  });
}

test(`${FUZZ_ROUNDS} mutations of a pickle inside a sound archive`, async () => {
  const whole = source(fixtureBytes("torch/lightning.ckpt"));
  const directory = await readZipDirectory(whole);
  const parts: Record<string, Uint8Array> = {};
  let pickle = new Uint8Array();
  for (const entry of directory.values()) {
    const data = await whole.read(await zipDataOffset(whole, entry), entry.size);
    if (entry.name.endsWith("data.pkl")) pickle = data;
    else if (entry.name.includes("/data/")) parts[entry.name.split("/").at(-1)!] = data;
  }
  const refused = await fuzz(pickle, async (bytes) => {
    const file = await openPyTorch(source(torchZip(bytes, parts)));
    for (const key of file.entries.keys()) await file.readFloat32(key);
  });
  assert.ok(refused > FUZZ_ROUNDS / 4, `only ${refused} refused`);
});

test("every truncation is refused", async () => {
  for (const name of ["protocol4.pt", "legacy.pt"]) {
    const bytes = fixtureBytes(`torch/${name}`);
    for (let length = 0; length < bytes.length; length += 7) await rejects(() => openPyTorch(source(bytes.subarray(0, length))), /./);
  }
  await rejects(() => openPyTorch(source(bytesOf("hello"))), /neither a zip archive nor begins with PyTorch's magic number/);
});

test.run();
