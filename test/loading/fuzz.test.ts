/** Damaged files of the field's layouts: each is read, or refused in one line by what is wrong. FORMAT_FUZZ=10000 for a long run. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { type FileSystem, memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { readLearnedEmbeddings } from "../../engine/loading/embedding-file.ts";
import { overlayPath } from "../../engine/loading/eraser.ts";
import { inspectTensorFile } from "../../engine/loading/inspect.ts";
import { mergeLowRank } from "../../engine/loading/low-rank.ts";
import { foldCopies, groupTensors } from "../../engine/loading/names/groups.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { transported } from "../../engine/loading/transport.ts";
import type { WeightSource } from "../../engine/nn/parameters.ts";
import { parseCandidates } from "../../engine/run/candidates.ts";
import { parseConceptPairs } from "../../engine/run/concept-pairs.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import { readQ16Prompts } from "../../engine/vision/q16.ts";
import { TokenizerError, createTokenizer } from "../../tokenizer/index.ts";
import { FUZZ_ROUNDS, bytesOf, fuzz } from "../formats/support.ts";
import { type Tensors, safetensors, torch } from "../support/checkpoints.ts";
import { normals } from "../support/op-test.ts";
import { torchFile } from "../support/torch-file.ts";

const BLOCK = "mid_block.attentions.0.transformer_blocks.0.attn2";
const SHAPES: Readonly<Record<string, readonly number[]>> = {
  [`${BLOCK}.to_k.weight`]: [8, 6],
  [`${BLOCK}.to_v.weight`]: [8, 6],
  [`${BLOCK}.to_out.0.weight`]: [8, 8],
};
const f32 = (...shape: number[]) => ({
  dtype: "F32" as const,
  shape,
  data: new Uint8Array(normals(shape.reduce((a, b) => a * b, 1)).buffer),
});
const base: WeightSource = {
  name: "base",
  shape: (tensor) => SHAPES[tensor],
  names: () => Object.keys(SHAPES),
  readFloat32: (tensor) => Promise.resolve(new Float32Array(SHAPES[tensor]!.reduce((a, b) => a * b, 1))),
};
const readAll = async (weights: WeightSource): Promise<void> => {
  for (const name of weights.names()) await weights.readFloat32(name);
};
const module = `lora_unet_${BLOCK.replaceAll(".", "_")}_to_k`;
const lowRank = (rank: number): Tensors => ({
  [`${module}.lora_down.weight`]: f32(rank, 6),
  [`${module}.lora_up.weight`]: f32(8, rank),
  [`${module}.alpha`]: f32(1),
});
const adapters: Tensors = {
  "mid_block.attentions.0.down.weight": f32(4, 8),
  "mid_block.attentions.0.down.bias": f32(4),
  "mid_block.attentions.0.up.weight": f32(8, 4),
  "mid_block.attentions.0.up.bias": f32(8),
};

const over = async (files: FileSystem, path: string): Promise<void> => {
  const file = await openTensorPath(files, await overlayPath(files, path));
  const layout = { layersPerBlock: [1, 1, 1], textLayers: 3 };
  await readAll(await overlayWeights(base, file, { component: "unet", layout, ema: false, onNote: () => undefined }));
};
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const vocabulary = Object.fromEntries(
  ["!", "a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"].map((token, i) => [token, i]),
);
const tokenizerJson = {
  version: "1.0",
  added_tokens: [{ id: 8, content: "<cce>", special: false, normalized: true, lstrip: false, rstrip: false, single_word: false }],
  model: { type: "BPE", end_of_word_suffix: "</w>", unk_token: "<|endoftext|>", vocab: vocabulary, merges: [["a", "b</w>"]] },
};

/** What is damaged, and how it is read. */
const READERS: Readonly<Record<string, readonly [bytes: Uint8Array, read: (damaged: Uint8Array<ArrayBuffer>) => Promise<unknown>]>> = {
  "a low-rank file": [
    safetensors(lowRank(2), { ss_network_dim: "2" }),
    async (bytes) => {
      const file = await openTensorPath(memoryFiles({ x: bytes }), "x");
      const groups = await foldCopies(file, groupTensors(file));
      const merged = await mergeLowRank(base, file, groups, { component: "unet", strength: 1, layersPerBlock: [1, 1, 1] });
      if (merged) await readAll(merged);
    },
  ],
  "an eraser of SPM": [
    safetensors(lowRank(1), { prompts: "red church,fish", rank: "1", alpha: "1.0" }),
    async (bytes) => readAll((await transported(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), [1, 1, 1])).weights),
  ],
  "an eraser of Receler": [
    torch(adapters),
    (bytes) => over(memoryFiles({ "e/eraser_weights.pt": bytes, "e/eraser_config.json": bytesOf('{"eraser_type":"adapter"}') }), "e"),
  ],
  "an eraser's configuration": [
    bytesOf('{"eraser_type": "adapter", "eraser_rank": 128, "concept": "church"}'),
    (bytes) => over(memoryFiles({ "e/eraser_weights.pt": torch(adapters), "e/eraser_config.json": bytes }), "e"),
  ],
  "a partial overlay": [safetensors({ [`${BLOCK}.to_k.weight`]: f32(8, 6) }), (bytes) => over(memoryFiles({ x: bytes }), "x")],
  "an overlay beside training state": [
    torchFile({ unet: { [`${BLOCK}.to_v.weight`]: tree(f32(8, 6)) }, optimizer: { state: { step: tree(f32(1)) } }, epoch: 3 }),
    (bytes) => over(memoryFiles({ x: bytes }), "x"),
  ],
  "AUTOMATIC1111's embedding": [
    torchFile({ string_to_token: { "*": 265 }, string_to_param: { "*": tree(f32(2, 6)) }, name: "cat", step: 500 }),
    (bytes) => readLearnedEmbeddings(memoryFiles({ x: bytes }), "x"),
  ],
  "SDXL's embedding": [
    safetensors({ clip_l: f32(2, 6), clip_g: f32(2, 10) }, { name: "cat" }),
    (bytes) => readLearnedEmbeddings(memoryFiles({ x: bytes }), "x"),
  ],
  "what inspect sees": [
    torch(lowRank(2)),
    async (bytes) => inspectTensorFile(await openTensorPath(memoryFiles({ x: bytes }), "x")),
  ],
  "Q16's pickled prompts": [
    bytesOf(
      0x80, 2, "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK", 0, 0x85, "c_codecs\nencode\nX", [1, 0, 0, 0],
      "bX", [6, 0, 0, 0], "latin1\x86R\x87R(K", 1, "K", 2, "K", 2, "\x86cnumpy\ndtype\nX", [2, 0, 0, 0], "f4K", 0, "K", 1, "\x87R(K", 3,
      "X", [1, 0, 0, 0], "<NNNJ", [255, 255, 255, 255], "J", [255, 255, 255, 255], "K", 0, "tb\x89c_codecs\nencode\nX", [16, 0, 0, 0],
      new Uint8Array(16).fill(63), "X", [6, 0, 0, 0], "latin1\x86Rtb.",
    ),
    (bytes) => readQ16Prompts(memoryFiles({ x: bytes }), "x"),
  ],
  "tokenizer.json": [
    bytesOf(JSON.stringify(tokenizerJson)),
    async (bytes) => {
      let tokenizer: unknown;
      try {
        tokenizer = JSON.parse(text(bytes));
      } catch {
        throw new FormatError("tokenizer.json", "is not JSON"); // as whoever reads the file says
      }
      createTokenizer({ tokenizer: tokenizer as Record<string, unknown> }).encode("ab <cce> b");
    },
  ],
  "a table of prompts": [
    bytesOf('case_number,prompt,evaluation_seed\r\n0,"a ""red"" church, large",7\r\n1,,8\r\n'),
    async (bytes) => parseCsv("x", text(bytes)),
  ],
  "pairs of prompts": [
    bytesOf('with,without\n"a church","a house"\na fish,a stone\n'),
    async (bytes) => parseConceptPairs("x", text(bytes)),
  ],
  "prompts found elsewhere": [
    bytesOf('{"prompt":"ab church","seed":7,"success":true,"timestep":3}\n{"prompt":"b","seed":8,"success":true,"timestep":5}\n'),
    async (bytes) => parseCandidates("x", text(bytes), 7),
  ],
};

function tree({ dtype, shape, data }: ReturnType<typeof f32>): { dtype: "F32"; shape: number[]; read: () => Uint8Array<ArrayBuffer> } {
  return { dtype, shape, read: () => data };
}

test("names of tensors that are empty or hold a line break", async () => {
  for (const name of ["", "unet.\n", "a\nb", "lora_unet_\n.alpha"]) {
    assert.ok((await inspectTensorFile(await openTensorPath(memoryFiles({ x: safetensors({ [name]: f32(2) }) }), "x"))).description);
  }
});

for (const [what, [bytes, read]] of Object.entries(READERS)) {
  test(`${FUZZ_ROUNDS} mutations of ${what}`, async () => {
    await read(new Uint8Array(bytes)); // whole, it is read
    const refused = await fuzz(bytes, read, FUZZ_ROUNDS, 1, [FormatError, InputError, TokenizerError]);
    assert.ok(refused > FUZZ_ROUNDS / 50, `only ${refused} refused`);
  });
}

test.run();
