// classify, the diffusion judge, and a word learned by cce and drawn again, as processes.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const prompts = join(folder, "prompts.txt");
writeFileSync(prompts, "\ufeffa picture of a fish\r\n\r\na picture of a church\r\na picture of a car\r\n");
const CHURCH = "emoji/dataset/church/imgs/0_0.png";
const UNLEARNED = [...DEVICE_FLAGS, "--model", "emoji", "--unet", "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt"];

test("classify: the prompt, every error and the settings as JSON", async () => {
  const { code, stdout, stderr } = await lethe(
    "classify",
    "--json",
    ...DEVICE_FLAGS,
    "--model",
    "emoji",
    "--image",
    CHURCH,
    "emoji/dataset/church/imgs/1_0.png",
    "--prompts",
    prompts,
    "--samples",
    "3,6",
    "--keep",
    "2,1",
    "--loss",
    "l1",
  );
  assert.is(code, 0, stderr);
  const json = JSON.parse(stdout) as {
    images: { prompt: string; scores: { prompt: string; error: number; errors: number[] }[]; timesteps: number[] }[];
    loss: string;
  };
  assert.equal(
    json.images.map((i) => i.prompt),
    ["a picture of a church", "a picture of a church"],
  );
  assert.is(json.loss, "l1");
  for (const { scores, timesteps } of json.images) {
    assert.is(timesteps.length, 6);
    assert.equal(scores.map((s) => s.errors.length).toSorted(), [3, 6, 6]);
    for (const s of scores) assert.ok(Math.abs(s.error - s.errors.reduce((a, b) => a + b, 0) / s.errors.length) < 1e-9);
  }
});

test("classify: what is wrong with the prompts or stages is told before any model is opened", async () => {
  const one = join(folder, "one.txt");
  writeFileSync(one, "a church\n");
  const cases: [string[], RegExp][] = [
    [["--prompts", one], /one\.txt.*holds 1 prompt/],
    [["--prompts", join(folder, "none.txt")], /none\.txt/],
    [["--prompts", prompts, "--samples", "3"], /--samples and --keep must name the same stages, got 1 and 2/],
    [["--prompts", prompts, "--keep", "2,x"], /whole numbers of at least 1/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await lethe("classify", "--model", "emoji", "--image", CHURCH, ...args);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test("attack --judge diffusion, and cce's word drawn again by generate --embedding", async () => {
  const out = join(folder, "cce");
  const run = await lethe(
    "attack",
    "--json",
    ...UNLEARNED,
    "--prompt",
    "a picture of a church",
    "--target",
    CHURCH,
    "--judge",
    "diffusion",
    "--judge-prompts",
    prompts,
    "--label",
    "a picture of a church",
    "--attacker",
    "cce",
    "--iterations",
    "2",
    "--max-timesteps",
    "1",
    "--steps",
    "2",
    "--scheduler",
    "ddim",
    "--seed",
    "4",
    "--out",
    out,
  );
  assert.is(run.code, 0, run.stderr);
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as {
    settings: { judge: string; judgePrompts: string };
    files: { role: string; path: string }[];
  };
  assert.equal([record.settings.judge, record.settings.judgePrompts], ["diffusion", prompts]);
  assert.ok(record.files.some((f) => f.role === "judge" && f.path === prompts));
  const lines = readFileSync(join(out, "attack.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l) as { prompt: string; image: string; success: boolean });
  const learned = join(out, "learned_embeds.safetensors");
  assert.is(existsSync(learned), lines.length === 2);
  if (lines.length < 2) return; // the plain prompt drew the concept already
  assert.is(lines[1]!.prompt, "a picture of <cce>");
  const png = join(folder, "again.png");
  const drawn = await lethe(
    "generate",
    ...UNLEARNED,
    "--embedding",
    learned,
    "--prompt",
    "a picture of <cce>",
    "--steps",
    "2",
    "--scheduler",
    "ddim",
    "--seed",
    "4",
    "--out",
    png,
  );
  assert.is(drawn.code, 0, drawn.stderr);
  const [a, b] = await Promise.all([png, join(out, lines[1]!.image)].map((file) => decodePng(file, readFileSync(file))));
  assert.equal(a!.data, b!.data);
});

test("attack: flags that do not go together are refused", async () => {
  const base = ["attack", "--prompt", "a church", "--target", CHURCH, "--label", "church", "--out", join(folder, "never")];
  const cases: [string[], RegExp][] = [
    [["--model", "emoji", "--judge", "diffusion"], /judge "diffusion" needs the text file of its prompts, one a line \(--judge-prompts\)/],
    [["--model", "emoji", "--judge", "emoji-object", "--judge-prompts", prompts], /judge "emoji-object" takes no --judge-prompts/],
    [["--model", "emoji", "--judge", "emoji-object", "--attacker", "p4d"], /'--original <model>' not specified/],
    [
      ["--model", "emoji", "--judge", "emoji-object", "--original", "emoji"],
      /--original is of --attacker p4d, ring-a-bell, .*and of --judge diffusion only, not of text-grad/,
    ],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await lethe(...base, ...args);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test.run();
