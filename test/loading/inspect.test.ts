import { readFileSync } from "node:fs";
import { ShapeError } from "../../kernels/kernel.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import { randomNumbers } from "../formats/support.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ByteSource } from "../../engine/formats/byte-source.ts";
import { memoryFiles, type FileSystem } from "../../engine/formats/file-system.ts";
import { type Inspection, inspectTensorFile } from "../../engine/loading/inspect.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { Config } from "../../engine/nn/config.ts";
import { expectedTensors, withoutUnitKernel } from "../../engine/loading/expected.ts";
import { type SingleFileOptions, openSingleFile } from "../../engine/loading/load-file.ts";
import type { OpenModel } from "../../engine/loading/open-model.ts";
import { unetConfig } from "../../engine/diffusion/unet-config.ts";
import { SYNTHETIC_MODELS } from "../../engine/loading/synthetic.ts";
import { EMOJI, emojiTensors, originalCheckpoint, readTensors, safetensors } from "../support/checkpoints.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { originalNames, sd14Tensors } from "../support/original-names.ts";

type Shapes = Readonly<Record<string, readonly number[]>>;

/** A safetensors file of real size that is not there: a true header, then `fill` wherever one reads. */
function virtualFile(
  shapes: Shapes,
  metadata: Readonly<Record<string, string>> = {},
  fill: (name: string) => number = () => 0,
): { files: FileSystem; readBytes: () => number } {
  let offset = 0;
  const places: { name: string; from: number; to: number }[] = [];
  const header: Record<string, unknown> = { __metadata__: metadata };
  for (const [name, shape] of Object.entries(shapes)) {
    const to = offset + 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, to] };
    places.push({ name, from: offset, to });
    offset = to;
  }
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.concat([Buffer.alloc(8), json]);
  head.writeBigUInt64LE(BigInt(json.length));
  let read = 0;
  const source: ByteSource = {
    name: "model.safetensors",
    size: head.length + offset,
    read(at, length) {
      read += length;
      if (at < head.length) {
        const bytes = new Uint8Array(length);
        bytes.set(head.subarray(at, at + length));
        return Promise.resolve(bytes);
      }
      const place = places.find(({ from, to }) => from <= at - head.length && at - head.length < to);
      const values = new Float32Array(Math.ceil(length / 4)).map((_, i) => (i % 2 === 0 ? 1 : -1) * fill(place?.name ?? ""));
      return Promise.resolve(new Uint8Array(values.buffer, 0, length));
    },
    close: () => Promise.resolve(),
  };
  return {
    files: { open: () => Promise.resolve(source), kind: () => Promise.resolve("file"), list: () => Promise.resolve([]) },
    readBytes: () => read,
  };
}

function prefixedShapes(prefix: string, rows: readonly { original: string; shape: readonly number[] }[]): Shapes {
  return Object.fromEntries(rows.map(({ original, shape }) => [prefix + original, shape]));
}

/** v1-4.ckpt's weights: names and shapes of the real file. */
function sd1Shapes(): Shapes {
  return {
    ...prefixedShapes("model.diffusion_model.", originalNames("unet sd1")),
    ...prefixedShapes("first_stage_model.", originalNames("vae sd1")),
    ...Object.fromEntries([...sd14Tensors("text_encoder")].map(([name, shape]) => [`cond_stage_model.transformer.${name}`, shape])),
    betas: [1000],
  };
}

function sd2Shapes(): Shapes {
  return {
    ...prefixedShapes("model.diffusion_model.", originalNames("unet sd2")),
    ...prefixedShapes("first_stage_model.", originalNames("vae sd1")),
    ...prefixedShapes("cond_stage_model.model.", originalNames("text sd2")),
  };
}

const clipMerges = () => Promise.resolve(new Uint8Array(readFileSync("assets/clip/bpe_simple_vocab_16e6.txt.gz")));

async function open(
  shapes: Shapes,
  options: Partial<SingleFileOptions> = {},
  metadata: Readonly<Record<string, string>> = {},
  fill?: (name: string) => number,
): Promise<{ model: OpenModel; readBytes: () => number }> {
  const { files, readBytes } = virtualFile(shapes, metadata, fill);
  const model = await openSingleFile(files, "model.safetensors", {
    clipMerges,
    readTokenizer: () => Promise.reject(new Error("no folder was given")),
    ...options,
  });
  return { model, readBytes };
}

const shown = ({ config }: { config: Config }, ...names: string[]): unknown[] => names.map((name) => config.get(name));

test("Stable Diffusion 1.4 in one file: configurations, tokenizer and scheduler from its shapes, no weight read", async () => {
  const { model, readBytes } = await open(sd1Shapes());
  assert.ok(readBytes() < 1e6, `${readBytes()} bytes`);
  const { unet, textEncoder, vae } = SYNTHETIC_MODELS.sd14; // the published configuration
  for (const [name, value] of Object.entries(unet)) {
    assert.equal(
      name === "layers_per_block" ? unetConfig(model.unet.config).layersPerBlock : model.unet.config.get(name),
      name === "layers_per_block" ? [2, 2, 2, 2] : value,
      name,
    );
  }
  for (const [name, value] of Object.entries(textEncoder)) assert.equal(model.textEncoder.config.get(name), value, name);
  for (const [name, value] of Object.entries(vae)) assert.equal(model.vae!.config.get(name), value, name);
  assert.equal(shown(model.unet, "norm_num_groups", "use_linear_projection"), [32, false]);
  assert.is(model.scheduler["prediction_type"], "epsilon");
  assert.is(model.scheduler["_class_name"], "PNDMScheduler");
  assert.equal([...model.tokenizer!.encode("a church").subarray(0, 5)], [49406, 320, 2735, 49407, 49407]);
  for (const [part, weights] of [
    ["unet", model.unet.weights],
    ["text_encoder", model.textEncoder.weights],
    ["vae", model.vae!.weights],
  ] as const) {
    const wanted = sd14Tensors(part);
    assert.equal([...weights.names()].toSorted(), [...wanted.keys()].toSorted());
    for (const [name, shape] of wanted) assert.equal(weights.shape(name), shape, name);
  }
});

test("Stable Diffusion 2.1 in one file: linear projections, heads of 64, 23 of 24 text layers, padding with 0", async () => {
  const { model } = await open(sd2Shapes());
  assert.equal(shown(model.unet, "attention_head_dim", "use_linear_projection", "cross_attention_dim"), [[5, 10, 20, 20], true, 1024]);
  assert.equal(
    shown(
      model.textEncoder,
      "hidden_size",
      "num_hidden_layers",
      "num_attention_heads",
      "intermediate_size",
      "hidden_act",
      "vocab_size",
      "max_position_embeddings",
    ),
    [1024, 23, 16, 4096, "gelu", 49408, 77],
  );
  assert.equal([...model.tokenizer!.encode("a church").subarray(0, 5)], [49406, 320, 2735, 49407, 0]);
});

test("what a 2.x UNet predicts: by the caller, the file's word, the known step, or the spread of one bias", async () => {
  const predicted = async (metadata: Record<string, string>, bias: number, options: Partial<SingleFileOptions> = {}) => {
    const { model } = await open(sd2Shapes(), { partial: true, clipMerges: undefined, ...options }, metadata, (name) =>
      name.endsWith("output_blocks.11.1.transformer_blocks.0.norm1.bias") ? bias : 0,
    );
    return [model.scheduler["prediction_type"], model.unet.config.get("sample_size")];
  };
  assert.equal(await predicted({}, 0.1), ["v_prediction", 96]);
  assert.equal(await predicted({}, 0.08), ["epsilon", 64]);
  assert.equal(await predicted({ "modelspec.prediction_type": "v" }, 0.08), ["v_prediction", 96]);
  assert.equal(await predicted({ "modelspec.prediction_type": "epsilon" }, 0.1), ["epsilon", 64]);
  assert.equal(await predicted({ global_step: "875000" }, 0.1), ["epsilon", 64]);
  assert.equal(await predicted({}, 0.08, { predictionType: "v_prediction" }), ["v_prediction", 96]);
});

test("models that the engine does not have are named", async () => {
  const refusal = async (shapes: Shapes): Promise<string> =>
    open(shapes, { partial: true, clipMerges: undefined }).then(
      () => "",
      (error: Error) => error.message,
    );
  assert.match(
    await refusal({ ...sd1Shapes(), "model.diffusion_model.input_blocks.0.0.weight": [320, 9, 3, 3] }),
    /takes 9 channels, not 4: it is an inpainting model/,
  );
  assert.match(
    await refusal({
      "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": [1280, 1280],
      "model.diffusion_model.label_emb.0.0.weight": [1280, 2560],
      "first_stage_model.quant_conv.bias": [8],
    }),
    /is the refiner of Stable Diffusion XL, which only finishes pictures of the base model and is not supported/,
  );
  assert.match(await refusal(sd1Shapes()), /^$/);
  const noTokens = await openSingleFile(virtualFile(sd1Shapes()).files, "model.safetensors", {
    readTokenizer: () => Promise.reject(new Error("none")),
  }).catch((error: Error) => error.message);
  assert.match(String(noTokens), /has no tokenizer, and CLIP's own cannot stand in: CLIP's merge list .* was not given/);
});

test("expected tensors are those of the published model, by name and shape", () => {
  const { unet, textEncoder, vae } = SYNTHETIC_MODELS.sd14;
  for (const [part, fields] of [["unet", unet], ["text_encoder", textEncoder], ["vae", vae]] as const) {
    const expected = expectedTensors(part, Config.of(part, fields));
    const wanted = sd14Tensors(part);
    assert.is(expected.size, wanted.size);
    for (const [name, shape] of wanted) assert.equal(withoutUnitKernel(expected.get(name)!), withoutUnitKernel(shape), name);
  }
});

async function inspect(path: string, files: FileSystem = nodeFiles): Promise<Inspection> {
  const file = await openTensorPath(files, path);
  try {
    return await inspectTensorFile(file);
  } finally {
    await file.close();
  }
}

test("inspection says what is whole, missing and left over", async () => {
  const whole = await inspect("model.safetensors", virtualFile(sd1Shapes()).files);
  assert.is(whole.kind, "checkpoint");
  assert.is(whole.version, "SD 1.x");
  assert.is(whole.parameters, 859520964 + 123060480 + 83653863 + 1000);
  assert.equal(
    whole.components.map((c) => [c.component, c.names, c.tensors, c.whole, c.missing, c.extra]),
    [
      ["unet", "CompVis", 686, true, [], []],
      ["vae", "CompVis", 248, true, [], []],
      ["text_encoder", "diffusers", 196, true, [], []],
    ],
  );
  assert.equal([whole.leftovers, whole.unknown, whole.emaTensors, whole.predictionType], [1, [], 0, "epsilon"]);

  const esd = await inspect(`${EMOJI}/unlearned/esd-x-church/ESDx-church-UNet.pt`);
  assert.equal(
    [esd.kind, esd.description, esd.components[0]!.whole],
    ["unet", "a UNet of a model of context width 128 (diffusers names)", true],
  );
  assert.equal(esd.dtypes, { F16: esd.tensors });
  const part = await inspect(`${EMOJI}/unlearned/uce-like-church/unet.safetensors`);
  assert.equal([part.kind, part.components[0]!.whole, part.components[0]!.missing], ["unet", false, undefined]);

  const { "conv_in.bias": _, ...less } = await emojiTensors("unet");
  const lacking = await inspect(
    "x",
    memoryFiles({
      x: safetensors({ ...less, "down_blocks.0.resnets.0.conv9.weight": less["conv_in.weight"]!, "foo.bar": less["conv_in.weight"]! }),
    }),
  );
  assert.equal(
    [lacking.components[0]!.whole, lacking.components[0]!.missing, lacking.components[0]!.extra, lacking.unknown],
    [false, ["conv_in.bias"], ["down_blocks.0.resnets.0.conv9.weight"], ["foo.bar"]],
  );
  const all = await inspect("x", memoryFiles({ x: safetensors(await originalCheckpoint()) }));
  assert.ok(all.components.every((c) => c.whole));
  assert.is(
    (await inspect("x", memoryFiles({ x: safetensors(await readTensors(`${EMOJI}/classifier/object/model.safetensors`)) }))).description,
    "a ResNet image classifier",
  );
});

test("odd names and shapes: always a clear error, never a crash", async () => {
  const random = randomNumbers(7);
  const pick = (limit: number): number => Math.floor(random() * limit);
  const whole = Object.entries(prefixedShapes("model.diffusion_model.", originalNames("unet small"))).concat(
    Object.entries(prefixedShapes("first_stage_model.", originalNames("vae small"))),
    [...sd14Tensors("text_encoder")].map(([name, shape]): [string, number[]] => [`cond_stage_model.transformer.${name}`, shape]),
  );
  const sizes = [0, 1, 2, 3, 4, 7, 32, 64, 77, 1024, 2 ** 20];
  for (let round = 0; round < 150; round++) {
    const rows = whole.map(([name, shape]): [string, readonly number[]] => [name, shape]);
    for (let times = 1 + pick(6); times > 0; times--) {
      const at = pick(rows.length);
      const [name, shape] = rows[at]!;
      const dot = name.lastIndexOf(".", pick(name.length));
      const odd = [
        (): string => name.replace(/\d+/, String(pick(30))),
        (): string => name.slice(dot + 1),
        (): string => `${name}.alpha`,
        (): string => `model_ema.${name}`,
        (): string => name.replace(/\d+(?!.*\d)/, "99999999999999999999"),
      ][pick(5)]!;
      if (random() < 0.5) rows[at] = [name, Array.from({ length: pick(6) }, () => sizes[pick(sizes.length)]!).filter((_, i) => i < 3)];
      else if (random() < 0.7) rows[at] = [odd(), shape];
      else rows.splice(at, 1 + pick(random() < 0.2 ? 300 : 3));
    }
    const shapes = Object.fromEntries(rows);
    const fine = (error: unknown): void =>
      assert.ok(
        error instanceof FormatError || error instanceof InputError || error instanceof ShapeError,
        `round ${round}: ${error instanceof Error ? error.stack : String(error)}`,
      );
    const { files } = virtualFile(shapes);
    await inspect("model.safetensors", files).catch(fine);
    await open(shapes, { partial: true, clipMerges: undefined }).catch(fine);
  }
});

test.run();
