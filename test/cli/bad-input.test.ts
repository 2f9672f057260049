/** The command line meets bad files and bad values: one clear line, the right exit code, and nothing written. */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { DEVICE_FLAGS, SMALL_ATTACK, type Ran, copyOfModel, folder, lethe } from "./support.ts";

const UNET = "assets/emoji/unet/diffusion_pytorch_model.safetensors";

/** Asserts the exit code and that stderr is one error line that fits every pattern. */
function told(ran: Ran, code: number, ...patterns: readonly RegExp[]): void {
  assert.is(ran.code, code, ran.stderr);
  assert.is(ran.stdout, "");
  const errors = ran.stderr.trim().split("\n").filter((line) => line.startsWith("error: "));
  assert.is(errors.length, 1, ran.stderr);
  assert.is(ran.stderr.trim().split("\n").at(-1), errors[0], ran.stderr);
  for (const pattern of patterns) assert.match(errors[0]!, pattern);
}

/** An attack with some flags changed, added, or (with an empty value) left out. */
function attack(out: string, changes: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const flags = [...SMALL_ATTACK] as string[];
  for (const [flag, value] of Object.entries(changes)) {
    const at = flags.indexOf(flag);
    if (at >= 0) flags.splice(at, 2, ...(value === "" ? [] : [flag, value]));
    else flags.push(flag, value);
  }
  return lethe("attack", ...flags, "--out", out);
}

async function refused(name: string, changes: Readonly<Record<string, string>>, ...patterns: readonly RegExp[]): Promise<void> {
  const out = `out-${name}`;
  told(await attack(out, changes), 2, ...patterns);
  assert.not.ok(existsSync(join(folder, out)), `${out} was left behind`);
}

function file(name: string, bytes: Uint8Array | string): string {
  writeFileSync(join(folder, name), bytes);
  return name;
}

/** Bytes of a safetensors file with this header. */
function withHeader(header: string | object, body = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + body.length);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  out.set(text, 8);
  out.set(body, 8 + text.length);
  return out;
}

const tensor = (shape: number[], value = 0): { dtype: "F32"; shape: number[]; data: Float32Array } => ({
  dtype: "F32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value),
});

test("weight files: truncated, huge header, overlapping, no file at all", async () => {
  const whole = readFileSync(UNET);
  const cut = file("cut.safetensors", whole.subarray(0, 100_000));
  const huge = file("huge.safetensors", withHeader("{}", new Uint8Array(16), 2n ** 60n));
  const overlapping = file(
    "overlapping.safetensors",
    withHeader(
      { a: { dtype: "F32", shape: [4], data_offsets: [0, 16] }, b: { dtype: "F32", shape: [4], data_offsets: [8, 24] } },
      new Uint8Array(24),
    ),
  );
  await Promise.all([
    refused("cut", { "--unet": cut }, /cut\.safetensors/, /\d/),
    refused("huge", { "--unet": huge }, /huge\.safetensors/, /1152921504606846976|header/),
    refused("overlapping", { "--unet": overlapping }, /overlapping\.safetensors/, /overlap/),
    refused("missing", { "--unet": "nowhere.safetensors" }, /nowhere\.safetensors/),
    refused("text", { "--unet": file("text.pt", "these are not weights") }, /text\.pt/, /neither|no /),
  ]);
});

test("a pickle that would call a function is refused and calls nothing", async () => {
  // os.system("touch FILE"), protocol 0, and the same inside a legacy checkpoint's place.
  const marker = join(folder, "was-called");
  await refused("pickle", { "--unet": file("hostile.pt", `cos\nsystem\n(S'touch ${marker}'\ntR.`) }, /hostile\.pt/);
  assert.not.ok(existsSync(marker));
});

test("weights of another model, or of another shape", async () => {
  const names = encodeSafetensors("x", { "layers.0.weight": tensor([2, 2]) });
  const shapes = encodeSafetensors("x", { "conv_in.bias": tensor([7]) });
  await Promise.all([
    refused("names", { "--unet": file("names.safetensors", names) }, /names\.safetensors/, /layers\.0\.weight/),
    refused("shapes", { "--unet": file("shapes.safetensors", shapes) }, /shapes\.safetensors/, /"conv_in\.bias"/, /\[7\]/, /\[48\]/),
  ]);
});

test("a model with a missing tensor, or a config that disagrees with its weights", async () => {
  const missing = copyOfModel("missing-tensor");
  const path = join(missing, "unet/diffusion_pytorch_model.safetensors");
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.from(bytes.toString("latin1").replace('"conv_in.bias"', '"conv_in.bios"'), "latin1"));
  await refused("missing-tensor", { "--model": "missing-tensor", "--unet": "" }, /diffusion_pytorch_model/, /conv_in\.bias/);
  const wrong = copyOfModel("wrong-config");
  const config = join(wrong, "unet/config.json");
  writeFileSync(config, readFileSync(config, "utf8").replace('"cross_attention_dim": 128', '"cross_attention_dim": 64'));
  await refused("wrong-config", { "--model": "wrong-config", "--unet": "" }, /attn2/, /128/, /64/);
  const painter = join(copyOfModel("nine-channels"), "unet/config.json");
  writeFileSync(painter, readFileSync(painter, "utf8").replace('"in_channels": 4', '"in_channels": 9'));
  await refused("nine-channels", { "--model": "nine-channels", "--unet": "" }, /a UNet of 9 channels, as made for inpainting/);
  const broken = copyOfModel("broken-config", ["model_index.json", "text_encoder", "tokenizer", "vae", "scheduler"]);
  await refused("no-unet", { "--model": "broken-config", "--unet": "" }, /broken-config.unet/);
  writeFileSync(join(broken, "model_index.json"), "{ not json");
  await Promise.all([
    refused("no-index", { "--model": "broken-config" }, /model_index\.json/, /JSON/),
    refused("no-model", { "--model": "nosuchfolder" }, /nosuchfolder/),
  ]);
});

test("label, prompt and tokens that cannot be", async () => {
  await Promise.all([
    refused("label", { "--label": "cathedral" }, /"cathedral"/, /48/),
    refused("long", { "--prompt": "church ".repeat(40) }, /40 tokens/, /30/),
    refused("slots", { "--prompt": "church ".repeat(29), "--tokens": "9" }, /29 tokens/, /9 more/),
    refused("every-k", { "--insert": "every-k", "--tokens": "1" }, /every-k.*at least 2/),
    refused("steps", { "--timesteps": "5000" }, /timesteps.*1000/),
  ]);
});

test("targets that cannot be read", async () => {
  await refused("jpeg", { "--target": file("photo.png", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 1, 2, 3)) }, /photo\.png/, /truncated/);
  const png = encodePng({ data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 });
  await Promise.all([
    refused("torn", { "--target": file("torn.png", png.subarray(0, 60)) }, /torn\.png/),
    refused("absent", { "--target": "absent.png" }, /absent\.png/, /no such file/),
  ]);
});

test("an output that cannot be written is told before the run", async () => {
  file("a-file", "x");
  told(await attack("a-file/out"), 2, /a-file/);
  told(await attack("a-file"), 2, /a-file/);
  told(await lethe("generate", "--model", "emoji", "--prompt", "x", "--out", "a-file/x.png"), 2, /a-file/);
  told(await lethe("demo", "--out", "a-file/demo"), 2, /a-file/);
  rmSync(join(folder, "a-file"));
});

test("no adapter of that name: exit 3, and those there are", async () => {
  const { code, stdout, stderr } = await lethe(
    "generate",
    "--model",
    "emoji",
    "--prompt",
    "x",
    "--adapter",
    "no such adapter",
    "--out",
    "x.png",
  );
  assert.is(code, 3);
  assert.is(stdout, "");
  assert.match(stderr, /^error: no adapter matches "no such adapter"; available:/);
});

function generate(...flags: string[]): Promise<Ran> {
  return lethe("generate", "--model", "emoji", "--prompt", "x", "--out", "picture.png", ...DEVICE_FLAGS, ...flags);
}

test("values of generate that cannot be", async () => {
  told(await generate("--width", "63"), 2, /63x64/, /multiple of 4/);
  told(await generate("--sld", "max", "--guidance", "1"), 2, /guidance must be above 1/);
  told(await generate("--scheduler", "euler", "--eta", "0.5"), 2, /eta/);
});

test("nothing half-written is left anywhere", () => {
  const left = readdirSync(folder, { recursive: true }).map(String).filter((name) => /\.tmp$|out-|picture|^x\.png/.test(name));
  assert.equal(left, []);
});

test.run();
