/** What a file's tensors hold is checked when they are read: floats, all finite, and named by file, tensor and place. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FormatError } from "../../engine/formats/errors.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import { type RawTensor, type Tensors, emojiTensors, original, safetensors, torch } from "../support/checkpoints.ts";
import { originalNames } from "../support/original-names.ts";

const NAME = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";

async function refusal(bytes: Uint8Array): Promise<string> {
  const base = weightSource(await openTensorPath(memoryFiles({ base: safetensors(await emojiTensors("unet")) }), "base"));
  try {
    await overlayWeights(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), {
      component: "unet",
      layout: { layersPerBlock: [1, 1, 1] },
    });
  } catch (error) {
    assert.instance(error, FormatError);
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

async function withBits(change: (halves: Uint16Array) => void): Promise<Tensors> {
  const tensor = (await emojiTensors("unet"))[NAME]!;
  const halves = new Uint16Array(tensor.data.slice().buffer);
  change(halves);
  return { [NAME]: { ...tensor, data: new Uint8Array(halves.buffer) } };
}

test("NaN and infinity, in halves and in floats, with the first one's place", async () => {
  const nan = await withBits((halves) => halves.fill(0x7e01, 128 + 5, 128 + 9));
  assert.is(
    await refusal(safetensors(nan)),
    `x: tensor "${NAME}" holds NaN at index 133 ([1, 5] of [96, 128]); weights must be finite numbers`,
  );
  const infinite = await withBits((halves) => halves.fill(0xfc00, 7, 8));
  assert.match(await refusal(torch(infinite)), /holds -Infinity at index 7 \(\[0, 7\] of \[96, 128\]\)/);
  const floats = new Float32Array(96 * 128);
  floats[96 * 128 - 1] = Number.POSITIVE_INFINITY;
  assert.match(
    await refusal(safetensors({ [NAME]: { dtype: "F32", shape: [96, 128], data: new Uint8Array(floats.buffer) } })),
    /holds Infinity at index 12287 \(\[95, 127\]/,
  );
});

test("whole numbers under a UNet's names, by the name that the file gives them", async () => {
  const mask: RawTensor = { dtype: "I64", shape: [96, 128], data: new Uint8Array(8 * 96 * 128) };
  const [pair] = originalNames("unet small").filter(({ names }) => names[0] === NAME);
  assert.is(
    await refusal(torch(original("unet", { [NAME]: mask }))),
    `x: tensor "${pair!.original}" is of type I64: it holds whole numbers (a mask?), not weights`,
  );
  assert.match(
    await refusal(
      safetensors({ ...(await withBits(() => undefined)), "conv_out.bias": { dtype: "I64", shape: [4], data: new Uint8Array(32) } }),
    ),
    /tensor "conv_out.bias" is of type I64/,
  );
});

test.run();
