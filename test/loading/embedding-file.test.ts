/** Learned embeddings in the files of the field's tools, written here. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { readLearnedEmbeddings, requireFitting } from "../../engine/loading/embedding-file.ts";
import { cutOffNote, encodeLearnedEmbedding, holdsWord } from "../../engine/diffusion/learned-embedding.ts";
import { bytesOf, globalName, text, torchZip, uint32 } from "../formats/support.ts";
import { type Tensors, safetensors, torch, torchTree } from "../support/checkpoints.ts";
import { finish } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";
import { torchFile } from "../support/torch-file.ts";

const vectors = (...shape: number[]) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i / 8);
  return { dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) };
};
const read = (path: string, bytes: Uint8Array) => readLearnedEmbeddings(memoryFiles({ [path]: bytes }), path);
const words = async (path: string, bytes: Uint8Array): Promise<string[]> =>
  (await read(path, bytes)).map(({ name, width, rows }) => `${name} ${rows.length / width}x${width}`);
const tree = (tensors: Tensors) => torchTree(tensors);

async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

/** rinongal's file: `string_to_param` is a pickled torch.nn.ParameterDict. */
function rinongal(): Uint8Array {
  const storage = bytesOf("(", text("storage"), globalName("torch", "FloatStorage"), text("0"), text("cpu"), 0x4a, uint32(8), "tQ");
  const tensor = bytesOf(
    globalName("torch._utils", "_rebuild_tensor_v2"),
    "(",
    storage,
    0x4a,
    uint32(0),
    "(",
    0x4a,
    uint32(2),
    0x4a,
    uint32(4),
    "t(",
    0x4a,
    uint32(4),
    0x4a,
    uint32(1),
    "t",
    0x89,
    globalName("collections", "OrderedDict"),
    ")RtR",
  );
  const module = bytesOf(
    globalName("torch.nn.modules.container", "ParameterDict"),
    ")",
    0x81,
    "}(",
    text("training"),
    0x88,
    text("_parameters"),
    "}(",
    text("*"),
    tensor,
    "u",
    text("_modules"),
    "}",
    "ub",
  );
  return torchZip(
    bytesOf(0x80, 2, "}(", text("string_to_token"), "}(", text("*"), 0x4a, uint32(265), "u", text("string_to_param"), module, "u."),
    { 0: vectors(2, 4).data },
  );
}

test("every tool's form, with the word that the file or its name says", async () => {
  assert.equal(await words("learned_embeds.bin", torch({ "<cce>": vectors(3, 8) })), ["<cce> 3x8"]);
  assert.equal(await words("learned_embeds.safetensors", safetensors({ "<a>": vectors(8), "<b>": vectors(2, 8) })), ["<a> 1x8", "<b> 2x8"]);
  const a1111 = { string_to_token: { "*": 265 }, string_to_param: tree({ "*": vectors(2, 8) }), name: "my-word", step: 500 };
  assert.equal(await words("dir/file.pt", torchFile(a1111)), ["my-word 2x8"]);
  assert.equal(await words("dir/file-500.pt", torchFile({ ...a1111, name: "" })), ["file-500 2x8", "* 2x8"]);
  assert.equal(await words("embeddings_gs-6099.pt", rinongal()), ["embeddings_gs-6099 2x4", "* 2x4"]);
  assert.equal(await words("kohya.safetensors", safetensors({ emb_params: vectors(2, 8) })), ["kohya 2x8"]);
  const [kohya] = await read("kohya.pt", torchFile({ string_to_param: tree({ "*": vectors(1, 8) }), name: "x" }));
  assert.equal(
    [...kohya!.rows],
    [0, 1, 2, 3, 4, 5, 6, 7].map((i) => i / 8),
  );
});

test("SDXL's pair is one embedding, the vectors of both encoders side by side, and is written as it is read", async () => {
  const [pair] = await read("dir/toy.safetensors", safetensors({ clip_l: vectors(2, 2), clip_g: vectors(2, 3) }));
  assert.equal([pair!.name, pair!.width], ["toy", 5]);
  assert.equal([...pair!.rows].map((x) => x * 8), [0, 1, 0, 1, 2, 2, 3, 3, 4, 5]);
  const [again] = await read("x.safetensors", encodeLearnedEmbedding("x", { name: "<toy>", rows: pair!.rows }, [2, 3]));
  assert.equal([again!.name, ...again!.rows], ["<toy>", ...pair!.rows]);
});

test("what cannot be used is refused by its name", async () => {
  assert.match(
    await refusal(() => read("x.safetensors", safetensors({ clip_l: vectors(2, 8) }))),
    /x\.safetensors: is an embedding for SDXL and needs clip_l and clip_g, .*; clip_g is missing/,
  );
  assert.match(
    await refusal(() => read("x.safetensors", safetensors({ clip_l: vectors(2, 4), clip_g: vectors(3, 8) }))),
    /has 2 vectors for SDXL's first encoder and 3 for the second/,
  );
  assert.match(
    await refusal(() => read("x.pt", torch({ "<w>": { dtype: "I64", shape: [1], data: new Uint8Array(8) } }))),
    /tensor "<w>" is of type I64/,
  );
  assert.match(
    await refusal(() =>
      read("x.pt", torch({ "<w>": { dtype: "F32", shape: [2], data: new Uint8Array(Float32Array.of(1, Number.NaN).buffer) } })),
    ),
    /tensor "<w>" holds NaN at index 1/,
  );
  const model = await emojiModel();
  const wide = await read("sd2.bin", torch({ "<cce>": vectors(3, 1024) }));
  assert.is(
    await refusal(() => requireFitting(model, wide)),
    'sd2.bin: the learned word "<cce>" is [3, 1024]: it was learned for a text encoder 1024 wide, this model\'s is 128 wide',
  );
  const two = [...(await read("a.bin", torch({ "<w>": vectors(128) }))), ...(await read("b.bin", torch({ "<w>": vectors(128) })))];
  assert.match(await refusal(() => requireFitting(model, two)), /b\.bin: the learned word "<w>" is in a\.bin too/);
});

test("words are found whole; what is cut off is told", async () => {
  assert.equal(
    [holdsWord("a success", "cce"), holdsWord("a cce, there", "cce"), holdsWord("a<cce>b", "<cce>"), holdsWord("5 * 3", "*")],
    [false, true, true, true],
  );
  const model = await emojiModel();
  assert.is(cutOffNote(model, "a church"), undefined);
  assert.match(cutOffNote(model, `${"church ".repeat(30)}fish`)!, /^the prompt has 31 tokens, 30 fit; the last 1 are cut off: "fish\s?"$/);
});

finish();
