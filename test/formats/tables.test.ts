/** CSV tables, and model folders. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import {
  findWeights,
  isDiffusersFolder,
  openWeights,
  readConfig,
  readDiffusersFolder,
  readLabels,
  readOptionalConfig,
  requireComponent,
  variantOf,
} from "../../engine/formats/diffusers.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { nodeFiles, readText } from "../../engine/platform/node-files.ts";
import { rejects } from "./support.ts";

test("CSV: byte order mark, quotes, line breaks in quotes, CRLF, empty lines", () => {
  const table = parseCsv("x.file", '\ufeff,prompt,seed\r\n0,"a, ""b""\r\nc",7\r\n\r\n1,it is 5" wide,8');
  assert.equal(table.columns, ["", "prompt", "seed"]);
  assert.equal(table.rows, [{ "": "0", prompt: 'a, "b"\r\nc', seed: "7" }, { "": "1", prompt: 'it is 5" wide', seed: "8" }]);
  assert.equal(Object.keys(parseCsv("x", "__proto__,b\n1,2\n").rows[0]!), ["__proto__", "b"]);
});

test("CSV: what is wrong is said", async () => {
  const cases: [string, RegExp][] = [
    ["", /is empty; a CSV table with a header line is expected/],
    ["prompt\n", /has a header line but no rows/],
    ["seed,text\n1,a\n", /has no column "prompt"; its columns are "seed", "text"/],
    ["prompt,prompt\n1,a\n", /has more than one column "prompt"/],
    ["prompt,seed\na,1\nb\n", /not a proper CSV table: .*line 3/],
    ['prompt,seed\n"a,1\n', /not a proper CSV table: Quote Not Closed/],
  ];
  for (const [text, pattern] of cases) await rejects(async () => parseCsv("x.file", text, ["prompt"]), pattern);
});

test("CSV: the bundled prompts", async () => {
  const table = parseCsv("x", await readText("assets/emoji/dataset/church/prompts.csv"), [
    "case_number",
    "prompt",
    "evaluation_seed",
    "evaluation_guidance",
  ]);
  assert.is(table.rows.length, 12);
  assert.equal(table.rows[0], { case_number: "0", prompt: "a picture of a church", evaluation_seed: "17309", evaluation_guidance: "7.5" });
});

test("the bundled model's folder", async () => {
  assert.ok(await isDiffusersFolder(nodeFiles, "assets/emoji"));
  const model = await readDiffusersFolder(nodeFiles, "assets/emoji");
  assert.is(model.className, "StableDiffusionPipeline");
  assert.equal([...model.components.keys()].toSorted(), ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]);
  const unet = requireComponent(model, "unet");
  assert.equal([unet.library, unet.className], ["diffusers", "UNet2DConditionModel"]);
  assert.is((await readConfig(nodeFiles, unet.folder))["cross_attention_dim"], 128);
  assert.is((await readConfig(nodeFiles, requireComponent(model, "scheduler").folder))["_class_name"], "DDIMScheduler");
  for (const name of ["unet", "vae", "text_encoder"]) {
    const file = await openWeights(nodeFiles, requireComponent(model, name).folder);
    assert.ok(file.entries.size > 10);
    await file.close();
  }
  await rejects(
    async () => requireComponent(model, "safety_checker"),
    /names no component "safety_checker"; it has /,
    "assets/emoji/model_index.json",
  );
  const classifier = "assets/emoji/classifier/object";
  assert.is(readLabels("x", await readConfig(nodeFiles, classifier)).length, 48);
  assert.is((await readOptionalConfig(nodeFiles, classifier, "preprocessor_config.json"))?.["resample"], 2);
  assert.is(await readOptionalConfig(nodeFiles, classifier, "none.json"), undefined);
  await rejects(async () => readLabels("x.file", { id2label: { 0: "a", 2: "b" } }), /no text for class 1/);
});

const choose = (names: string[], variant?: string): Promise<string> =>
  findWeights(memoryFiles(Object.fromEntries(names.map((name) => [`m/${name}`, ""]))), "m", variant);

test("which weights are taken", async () => {
  const plain = "diffusion_pytorch_model.safetensors",
    half = "diffusion_pytorch_model.fp16.safetensors",
    bin = "diffusion_pytorch_model.bin";
  const cases: [string[], string | undefined, string][] = [
    [[bin, plain, half], undefined, plain],
    [[bin, half], undefined, bin],
    [[half, "diffusion_pytorch_model.fp16.bin"], undefined, half],
    [[bin], undefined, bin],
    [["pytorch_model.bin", "model.safetensors"], undefined, "model.safetensors"],
    [["model.safetensors.index.json", "model-00001-of-00002.safetensors"], undefined, "model.safetensors.index.json"],
    [["diffusion_pytorch_model.fp16.safetensors.index.json"], "fp16", "diffusion_pytorch_model.fp16.safetensors.index.json"],
    [["diffusion_pytorch_model.safetensors.index.fp16.json"], "fp16", "diffusion_pytorch_model.safetensors.index.fp16.json"],
    [["pytorch_model.bin.index.json"], undefined, "pytorch_model.bin.index.json"],
    [[plain, half], "fp16", half],
    [[plain, "diffusion_pytorch_model.fp16.bin"], "fp16", "diffusion_pytorch_model.fp16.bin"],
    [[plain, "diffusion_pytorch_model.bf16.safetensors"], "fp16", plain],
    [["model.bf16.safetensors", "model.non_ema.safetensors"], "fp16", "model.bf16.safetensors"],
  ];
  for (const [names, variant, want] of cases) assert.is(await choose(names, variant), `m/${want}`);
  assert.equal(
    ["a.fp16/model.safetensors", "m/model.fp16.safetensors", "m/model.safetensors.index.fp16.json", "model.bf16.bin"].map(variantOf),
    [undefined, "fp16", "fp16", "bf16"],
  );
  await rejects(
    () => choose(["config.json", "flax_model.msgpack"]),
    /has no weights: wanted one of .*it holds config.json, flax_model.msgpack/,
    "m",
  );
});

const index = (content: string): ReturnType<typeof memoryFiles> => memoryFiles({ "m/model_index.json": content, "m/unet/x.txt": "" });

test("folders that are not models", async () => {
  await rejects(
    () => readDiffusersFolder(nodeFiles, "assets/emoji/unet"),
    /is not a diffusers folder: it has no model_index.json; it holds config.json, diff/,
    "assets/emoji/unet",
  );
  await rejects(() => readDiffusersFolder(nodeFiles, "none"), /there is no such folder/, "none");
  await rejects(() => readDiffusersFolder(nodeFiles, "package.json"), /it is a file/, "package.json");
  await rejects(() => readDiffusersFolder(index("[]"), "m"), /should hold a JSON object/, "m/model_index.json");
  await rejects(
    () => readDiffusersFolder(index('{"../x": ["a", "b"]}'), "m"),
    /component "..\/x" is not a plain folder name/,
    "m/model_index.json",
  );
  const model = await readDiffusersFolder(
    index('{"unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [null, null], "requires_safety_checker": false}'),
    "m",
  );
  assert.equal([model.className, [...model.components.keys()]], ["unknown", ["unet"]]);
  await rejects(() => readConfig(index("{}"), "m/unet"), /has none of config.json, .*it holds x.txt/, "m/unet");
  await rejects(() => openWeights(nodeFiles, "none"), /no such folder/, "none");
  const files = memoryFiles({
    "m/model.safetensors": encodeSafetensors("x", { a: { dtype: "F32", shape: [1], data: new Float32Array(1) } }),
  });
  assert.is((await openWeights(files, "m")).entries.size, 1);
});

test.run();
