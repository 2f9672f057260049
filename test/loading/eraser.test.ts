/** Receler's folders: adapters behind cross attention, loaded as modules of the UNet, and what is refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import { EMOJI, type RawTensor, emojiTensors, safetensors, torchTree } from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";
import { normals } from "../support/op-test.ts";
import { torchFile } from "../support/torch-file.ts";
import { withEmoji } from "../support/with-emoji.ts";

const f32 = (data: Float32Array, ...shape: number[]): RawTensor => ({ dtype: "F32", shape, data: new Uint8Array(data.buffer) });

/** The bundled UNet with a file over it. */
async function over(bytes: Uint8Array): Promise<void> {
  const base = weightSource(await openTensorPath(memoryFiles({ base: safetensors(await emojiTensors("unet")) }), "base"));
  await overlayWeights(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), {
    component: "unet",
    layout: { layersPerBlock: [1, 1, 1] },
  });
}

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

const PATHS = ["down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.1"];
const RANK = 6;

/** An eraser's folder: adapters for some of the model's transformers, random or with a second matrix of zeros. */
async function eraser(
  random: boolean,
): Promise<{ files: Record<string, Uint8Array>; tensors: Readonly<Record<string, Record<string, RawTensor>>> }> {
  const unet = await emojiTensors("unet");
  const tensors = Object.fromEntries(
    PATHS.map((path) => {
      const width = unet[`${path}.proj_in.weight`]!.shape[0]!;
      const numbers = (count: number, own: boolean): Float32Array => (own ? normals(count).map((x) => x / 4) : new Float32Array(count));
      return [
        path,
        {
          "down.weight": f32(numbers(RANK * width, true), RANK, width),
          "down.bias": f32(numbers(RANK, true), RANK),
          "up.weight": f32(numbers(width * RANK, random), width, RANK),
          "up.bias": f32(numbers(width, random), width),
        },
      ];
    }),
  );
  const weights = torchFile(Object.fromEntries(Object.entries(tensors).map(([path, part]) => [path, torchTree(part)])));
  return {
    files: {
      "eraser/eraser_weights.pt": weights,
      "eraser/eraser_config.json": new TextEncoder().encode(JSON.stringify({ eraser_type: "adapter", eraser_rank: RANK })),
    },
    tensors,
  };
}

const LATENTS = { data: Float32Array.from({ length: 4 * 64 }, (_, i) => Math.sin(i)), shape: [1, 4, 8, 8] };

async function predicted(
  contents: Record<string, Uint8Array>,
  options: LoadOptions,
): Promise<{ noise: Float32Array; captured: (name: string) => Promise<Float32Array> }> {
  const model = await loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: EMOJI }, options);
  const context = await model.encodeText(model.tokenizer.encode("a church"));
  const { data: noise } = await model.predictNoise(LATENTS, 500, context);
  const captured = async (name: string): Promise<Float32Array> => {
    const program = await model.program(`captured ${name}`, (g) => {
      const input = (of: string, shape: readonly number[]) => g.input(of, { shape, dtype: "f32" });
      model.recordUNet(
        g,
        input("sample", [1, 8, 8, 4]),
        input("features", [1, model.featureWidth]),
        input("context", context.shape),
        false,
      );
      return { outputs: { value: g.captured.get(name)! } };
    });
    const sample = Float32Array.from({ length: 256 }, (_, i) => LATENTS.data[(i % 4) * 64 + Math.floor(i / 4)]!);
    await program.run({ sample, features: model.timestepFeatures([500]), context: context.data });
    return program.readFloats("value");
  };
  return { noise, captured };
}

/** Abramowitz and Stegun 7.1.26's error function is not exact enough here: Taylor's series, for small x. */
function erf(x: number): number {
  let [sum, term] = [0, x];
  for (let n = 0; n < 200; n++) {
    sum += term / (2 * n + 1);
    term *= -(x * x) / (n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

test("Receler's folder: a second matrix of zeros gives the base; an adapter adds up(gelu(down(y))) to its attention's output", async () => {
  const none = await eraser(false);
  const plain = await predicted({}, {});
  const idle = await predicted(none.files, { unet: "eraser" });
  assert.ok(idle.noise.every((x, i) => Math.abs(x - plain.noise[i]!) < 1e-5));
  const { files, tensors } = await eraser(true);
  const notes: string[] = [];
  const { noise, captured } = await predicted(files, { unet: "eraser", onNote: (note) => notes.push(note) });
  assert.match(notes.join(), /3 erasers \(Receler\) behind cross attentions/);
  assert.ok(noise.some((x, i) => Math.abs(x - plain.noise[i]!) > 1e-3));
  const path = `${PATHS[1]!}.transformer_blocks.0.attn2`;
  const [y, erased] = [await captured(`${path}.to_out.0`), await captured(path)];
  const numbers = (part: string): Float32Array => new Float32Array(tensors[PATHS[1]!]![part]!.data.slice().buffer);
  const [down, downBias, up, upBias] = ["down.weight", "down.bias", "up.weight", "up.bias"].map(numbers) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const width = upBias.length;
  const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
  for (let row = 0; row < y.length / width; row++) {
    const hidden = Array.from({ length: RANK }, (_, r) =>
      gelu(downBias[r]! + Array.from({ length: width }, (_v, c) => down[r * width + c]! * y[row * width + c]!).reduce((a, b) => a + b, 0)),
    );
    for (let c = 0; c < width; c++) {
      const wanted = y[row * width + c]! + upBias[c]! + hidden.reduce((sum, h, r) => sum + h * up[c * RANK + r]!, 0);
      assert.ok(
        Math.abs(erased[row * width + c]! - wanted) < 1e-4 * (1 + Math.abs(wanted)),
        `${row} ${c}: ${erased[row * width + c]} ${wanted}`,
      );
    }
  }
});

test("an eraser of another model, one that is not whole, and one of another type are refused by name", async () => {
  const { tensors } = await eraser(true);
  const bytes = (changed: Readonly<Record<string, Record<string, RawTensor>>>): Uint8Array =>
    torchFile(Object.fromEntries(Object.entries(changed).map(([path, part]) => [path, torchTree(part)])));
  const { "up.bias": _, ...less } = tensors[PATHS[0]!]!;
  assert.match(await refusal(() => over(bytes({ [PATHS[0]!]: less }))), /an eraser lacks its up\.bias \(of "down_blocks\.1\.attentions\.0/);
  assert.match(
    await refusal(() => over(bytes({ "down_blocks.0.attentions.0": tensors[PATHS[0]!]! }))),
    /"down_blocks\.0\.attentions\.0" has an eraser, but no cross attention in this model/,
  );
  assert.match(
    await refusal(() => over(bytes({ [PATHS[0]!]: { ...tensors[PATHS[0]!]!, "up.bias": f32(new Float32Array(5), 5) } }))),
    /has shape \[5\], an eraser of a layer \d+ wide has \[\d+\]/,
  );
  const { files } = await eraser(true);
  const other = { ...files, "eraser/eraser_config.json": new TextEncoder().encode(JSON.stringify({ eraser_type: "lora" })) };
  assert.match(
    await refusal(async () => loadStableDiffusion(await testDevice(), { files: withEmoji(other), folder: EMOJI }, { unet: "eraser" })),
    /eraser_config\.json: "eraser_type" is/,
  );
});

finish();
