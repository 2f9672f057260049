import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { shellArgument, shellCommand } from "../../engine/run/text/shell.ts";
import { settingsAsFlags } from "../../engine/run/record.ts";
import { newSettings } from "../../engine/run/settings/settings.ts";
import { exitCodeOf } from "../../cli/errors.ts";
import { formatBytes, formatDuration, formatTable, quoted } from "../../engine/run/text/format.ts";
import { safetensors, torch } from "../support/checkpoints.ts";
import { readJson } from "../support/fixtures.ts";
import { folder, lethe } from "./support.ts";

const COMMANDS = ["demo", "generate", "attack", "verify", "inspect", "tokenize", "doctor"];

test("--help on every command goes to stdout and names the global flags", async () => {
  const whole = await lethe("--help");
  assert.is(whole.code, 0);
  for (const name of COMMANDS) assert.match(whole.stdout, new RegExp(`^  ${name}\\b`, "m"));
  const each = await Promise.all(COMMANDS.map((name) => lethe(name, "--help")));
  each.forEach(({ code, stdout }, i) => {
    assert.is(code, 0, COMMANDS[i]!);
    for (const flag of [
      "--adapter",
      "--limits",
      "--weights",
      "--math",
      "--kernels",
      "--profile",
      "--no-buffer-sharing",
      "--robust",
      "--quiet",
      "--json",
    ]) {
      assert.ok(stdout.includes(flag), `${COMMANDS[i]} ${flag}`);
    }
  });
});

test("--version is package.json's", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  assert.equal(await lethe("--version"), { code: 0, stdout: `${version}\n`, stderr: "" });
});

for (const [what, args, pattern] of [
  ["an unknown command", ["atack"], /unknown command 'atack'[^]*attack/],
  ["an unknown flag", ["tokenize", "--model", "emoji", "--prompt", "x", "--promt", "y"], /unknown option '--promt'/],
  ["a missing flag", ["tokenize", "--model", "emoji"], /--prompt/],
  [
    "a flag where a value is due",
    ["bench", "ops", "--profile", "--no-save"],
    /'--profile <file>' has no value: '--no-save' is an option itself/,
  ],
  [
    "a number that is none",
    ["generate", "--model", "emoji", "--prompt", "x", "--steps", "many", "--out", "x.png"],
    /--steps.*many.*whole number/,
  ],
  ["a number out of range", ["generate", "--model", "emoji", "--prompt", "x", "--steps", "0", "--out", "x.png"], /--steps.*from 1 to 1000/],
  [
    "a choice that is none",
    ["generate", "--model", "emoji", "--prompt", "x", "--scheduler", "magic", "--out", "x.png"],
    /Allowed choices are ddim/,
  ],
  ["a name that is no PNG", ["generate", "--model", "emoji", "--prompt", "x", "--out", "x.jpg"], /x\.jpg.*\.png/],
  [
    "kernels that are none",
    ["generate", "--model", "emoji", "--prompt", "x", "--kernels", "magic", "--out", "x.png"],
    /--kernels.*magic.*Allowed choices are auto, tune, default, register/,
  ],
  ["no judge", ["attack", "--model", "emoji", "--prompt", "x", "--out", "o"], /--classifier DIR or --judge NAME/],
  [
    "two judges",
    ["attack", "--model", "emoji", "--prompt", "x", "--classifier", "c", "--judge", "emoji-object", "--label", "l", "--out", "o"],
    /either --classifier DIR or --judge NAME/,
  ],
  ["no target", ["attack", "--model", "emoji", "--prompt", "x", "--judge", "emoji-object", "--label", "church", "--out", "o"], /--target/],
  [
    "an empty prompt",
    ["attack", "--model", "emoji", "--prompt", " ", "--judge", "emoji-object", "--label", "church", "--out", "o"],
    /--prompt.*empty/,
  ],
] as const) {
  test(`${what}: exit 2 and one line that says so`, async () => {
    const { code, stdout, stderr } = await lethe(...args);
    assert.is(code, 2);
    assert.is(stdout, "");
    assert.match(stderr, pattern);
    assert.ok(stderr.trim().split("\n").length <= 2, stderr);
  });
}

test("tokenize: ids, pieces and truncation", async () => {
  const { code, stdout } = await lethe("tokenize", "--model", "emoji", "--prompt", "a church", "--json");
  assert.is(code, 0);
  const json = JSON.parse(stdout) as Record<string, unknown>;
  assert.is(stdout.trim().split("\n").length, 1);
  assert.equal(
    [json["tokens"], json["pieces"], json["truncated"], (json["ids"] as number[]).length],
    [[320, 2735], ["a</w>", "church</w>"], false, 32],
  );
  const long = await lethe("tokenize", "--model", "emoji", "--prompt", "church ".repeat(40));
  assert.is(long.code, 0);
  assert.match(long.stderr, /40 tokens, 30 fit; the last 10 are cut off/);
  assert.match(long.stdout, /40 of 30 tokens/);
});

/** A text encoder of one layer with random weights, of CLIP's vocabulary or another, in the original code's names. */
function textEncoderFile(name: string, vocabulary: number, width = 64): string {
  const layer = "text_model.encoder.layers.0";
  const shapes: Record<string, number[]> = {
    "text_model.embeddings.token_embedding.weight": [vocabulary, width],
    "text_model.embeddings.position_embedding.weight": [77, width],
    ...Object.fromEntries(
      ["q_proj", "k_proj", "v_proj", "out_proj"].flatMap((p) => [
        [`${layer}.self_attn.${p}.weight`, [width, width]],
        [`${layer}.self_attn.${p}.bias`, [width]],
      ]),
    ),
    [`${layer}.mlp.fc1.weight`]: [width * 4, width],
    [`${layer}.mlp.fc1.bias`]: [width * 4],
    [`${layer}.mlp.fc2.weight`]: [width, width * 4],
    [`${layer}.mlp.fc2.bias`]: [width],
    ...Object.fromEntries(
      [`${layer}.layer_norm1`, `${layer}.layer_norm2`, "text_model.final_layer_norm"].flatMap((n) => [
        [`${n}.weight`, [width]],
        [`${n}.bias`, [width]],
      ]),
    ),
  };
  const tensors = Object.fromEntries(
    Object.entries(shapes).map(([key, shape]) => [
      `cond_stage_model.transformer.${key}`,
      { dtype: "F16" as const, shape, data: new Uint8Array(2 * shape.reduce((a, b) => a * b, 1)) },
    ]),
  );
  writeFileSync(join(folder, `${name}.safetensors`), safetensors(tensors));
  writeFileSync(join(folder, `${name}.ckpt`), torch(tensors));
  return name;
}

test("tokenize: a checkpoint file has CLIP's own vocabulary, as loading gives it", async () => {
  const name = textEncoderFile("text", 49408);
  const { cases } = readJson<{ cases: { tokenizer: string; text: string; ids: number[] }[] }>("tokenizer/models.json");
  const { text: prompt, ids } = cases.find((c) => c.tokenizer === "sd1")!;
  for (const model of [`${name}.safetensors`, `${name}.ckpt`, "synthetic:sd14"]) {
    const { code, stdout, stderr } = await lethe("tokenize", "--model", model, "--prompt", prompt, "--json");
    assert.is(code, 0, stderr);
    assert.equal((JSON.parse(stdout) as { ids: number[] }).ids, ids, model);
  }
  const refused = async (model: string, pattern: RegExp): Promise<void> => {
    const { code, stderr } = await lethe("tokenize", "--model", model, "--prompt", "x");
    assert.is(code, 2);
    assert.match(stderr, pattern);
  };
  await refused(
    `${textEncoderFile("other", 300)}.safetensors`,
    /other\.safetensors: has no tokenizer, and CLIP's own cannot stand in: its vocabulary has 300 tokens/,
  );
  await refused(
    "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt",
    /holds no text encoder, so there is nothing to tokenize for; it looks like a UNet/,
  );
});

test("inspect: a checkpoint, a folder, a classifier, a picture", async () => {
  const [checkpoint, modelFolder, classifier, picture] = await Promise.all(
    ["emoji/unlearned/esd-x-church/ESDx-church-UNet.pt", "emoji", "emoji/classifier/object", "emoji/reference/sample_0.png"].map((f) =>
      lethe("inspect", f, "--json"),
    ),
  );
  const pt = JSON.parse(checkpoint!.stdout) as {
    looksLike: string;
    parameters: number;
    tensors: { name: string; dtype: string; shape: number[] }[];
  };
  assert.match(pt.looksLike, /^a UNet .*diffusers names/);
  assert.is(pt.parameters, 3_012_180);
  assert.equal(pt.tensors.find((t) => t.name === "conv_in.weight"), { name: "conv_in.weight", dtype: "F16", shape: [48, 4, 3, 3] });
  const model = JSON.parse(modelFolder!.stdout) as { kind: string; components: { name: string; parameters?: number }[] };
  assert.equal([model.kind, model.components.find((c) => c.name === "text_encoder")?.parameters], ["diffusers folder", 1_647_744]);
  assert.match((JSON.parse(classifier!.stdout) as { looksLike: string }).looksLike, /ResNet/);
  assert.equal(JSON.parse(picture!.stdout) as { width: number }["width"], {
    ...(JSON.parse(picture!.stdout) as object),
    kind: "png",
    width: 64,
    height: 64,
    texts: {},
  });
});

function named(name: string): Error {
  return Object.assign(new Error("x"), { name });
}

test("a reader that goes away ends it quietly", async () => {
  const child = spawn(process.execPath, [resolve("dist/cli.js"), "inspect", "assets/emoji/unet/diffusion_pytorch_model.safetensors"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (d: Buffer) => (stderr += d.toString()));
  const code = await new Promise((done) => child.on("close", done));
  assert.equal({ code, stderr }, { code: 0, stderr: "" });
});

test("errors have their exit codes", () => {
  for (const name of ["TokenizerError", "SchedulerConfigError", "ShapeError"]) assert.is(exitCodeOf(named(name)), 2, name);
  assert.is(exitCodeOf(new RangeError("steps must be at least 1")), 2);
  assert.is(exitCodeOf(new RangeError("Maximum call stack size exceeded")), 1);
  assert.is(exitCodeOf(new TypeError("x is undefined")), 1);
  assert.is(exitCodeOf(named("AbortError")), 130);
  assert.is(exitCodeOf("text"), 1);
});

test("shell arguments come back whole from a shell", async () => {
  const { execFileSync } = await import("node:child_process");
  const words = [
    "plain",
    "two words",
    "it's",
    'a "b"',
    "$HOME `x` \\",
    "bell \u0007 é 😏",
    "new\nline",
    "\u202eright",
    "\ufffd'\\",
    "",
    "--flag=1",
  ];
  const out = existsSync("/bin/bash")
    ? execFileSync("/bin/bash", ["-c", `printf '%s\\0' ${shellCommand(words)}`], {
        encoding: "utf8",
        env: { ...process.env, LC_ALL: "C.UTF-8" },
      })
    : `${words.join("\0")}\0`;
  assert.equal(out.split("\0").slice(0, -1), words);
  assert.is(shellArgument("emoji/a-b_c.pt"), "emoji/a-b_c.pt");
});

test("settings as flags leave out the defaults", () => {
  const settings = newSettings({ model: "emoji", prompt: "a church", judge: "emoji-object", label: "church", target: "t.png", tokens: 5 });
  assert.equal(settingsAsFlags(settings), [
    "--model",
    "emoji",
    "--prompt",
    "a church",
    "--target",
    "t.png",
    "--judge",
    "emoji-object",
    "--label",
    "church",
    "--tokens",
    "5",
  ]);
});

test("texts for terminals", () => {
  assert.is(quoted('a "b" \u0007'), '"a \\"b\\" \\u{7}"');
  assert.equal([formatBytes(0), formatBytes(1023), formatBytes(1536), formatBytes(2 ** 31)], ["0 B", "1023 B", "1.5 KiB", "2.0 GiB"]);
  assert.equal([formatDuration(6), formatDuration(245.2), formatDuration(3723)], ["0:06", "4:05", "1:02:03"]);
  assert.is(formatTable([{ title: "a" }, { title: "n", right: true }], [["x", "1"], ["yy", "22"]]), "a    n\nx    1\nyy  22");
});

test.run();
