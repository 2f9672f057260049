// `lethe unlearn` as a user runs it: what it writes, that a killed run goes on to the same bytes, and what it refuses.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openTensorPath } from "../../engine/formats/open.ts";
import { readPngTexts } from "../../engine/formats/picture/png.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const SMALL = [
  "unlearn", "--model", "emoji", "--method", "esd-x", "--concept", "church", "--sampling-steps", "6", "--steps", "4", "--save-every", "1",
  "--preview-every", "2", "--preview-steps", "2", ...DEVICE_FLAGS,
] as const;
const at = (name: string): string => join(folder, name);
const bytes = (name: string): Uint8Array<ArrayBuffer> => new Uint8Array(readFileSync(at(name)));
const sha256 = (name: string): string => createHash("sha256").update(bytes(name)).digest("hex");
const json = (name: string): unknown => JSON.parse(readFileSync(at(name), "utf8"));
const lines = (name: string): Record<string, unknown>[] =>
  readFileSync(at(name), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);

test("a run writes weights, log, pictures, record and report, and says what it did as JSON", async () => {
  writeFileSync(at("retain.txt"), "a car\n\na car\na castle\n");
  const { code, stdout, stderr } = await lethe(...SMALL, "--retain", "retain.txt", "--out", "a.safetensors", "--json");
  assert.is(code, 0, stderr);
  const result = JSON.parse(stdout) as Record<string, unknown>;
  assert.equal(Object.keys(result), [
    "method", "recipe", "concepts", "steps", "loss", "seconds", "adapter", "peakBytes", "out", "sha256",
  ]);
  assert.equal([result["method"], result["recipe"], result["concepts"], result["steps"], result["out"]], [
    "esd-x", "esd-2025", ["church"], 4, "a.safetensors",
  ]);
  assert.is(result["sha256"], sha256("a.safetensors"));
  assert.equal(readdirSync(at("a.safetensors.run")).toSorted(), ["images", "log.jsonl", "report.html", "run.json"]);

  const log = lines("a.safetensors.run/log.jsonl");
  const steps = log.filter((line) => "loss" in line);
  assert.equal(steps.map(({ step }) => step), [1, 2, 3, 4]);
  assert.ok(steps.every(({ loss, learningRate, seconds }) => [loss, learningRate, seconds].every((x) => Number.isFinite(x))));
  assert.is(steps.at(-1)!["loss"], result["loss"]);
  const previews = log.filter((line) => "image" in line);
  assert.equal(
    previews.map(({ step, prompt, erased }) => `${step as number} ${prompt as string} ${erased as boolean}`),
    [0, 2, 4].flatMap((s) => [`${s} church true`, `${s} a car false`, `${s} a castle false`]),
  );
  for (const { image } of previews) {
    const png = bytes(`a.safetensors.run/${image as string}`);
    assert.is((await decodePng("x", png)).width, 64);
    assert.match((await readPngTexts("x", png)).get("lethe")!, /"erased":"a\.safetensors, step \d"/);
  }
  const record = json("a.safetensors.run/run.json") as { status: string; command: string; result: { trained: unknown }; recipe: object };
  assert.is(record.status, "finished");
  assert.match(record.command, /^npx lethe unlearn --model emoji .*--steps 4 .*--concept church .*--out a\.safetensors$/);
  assert.match(JSON.stringify(record.recipe), /2303\.07345/);
  const report = readFileSync(at("a.safetensors.run/report.html"), "utf8");
  for (const part of [
    "Before, during, after",
    "Losses",
    "Side effects",
    "2303.07345",
    "npx lethe unlearn",
    result["sha256"] as string,
    "<svg",
  ]) {
    assert.ok(report.includes(part), part);
  }
  assert.not.ok(report.includes(resolve(".")), "the report names no folder of this machine");

  const file = await openTensorPath(nodeFiles, at("a.safetensors"));
  const base = await openTensorPath(nodeFiles, "assets/emoji/unet/diffusion_pytorch_model.safetensors");
  assert.ok([...file.entries.keys()].every((name) => name.includes("attn2")));
  let moved = 0;
  for (const name of file.entries.keys()) {
    const [now, before] = [await file.readFloat32(name), await base.readFloat32(name)];
    if (now.some((x, i) => x !== before[i])) moved++;
  }
  assert.is(moved, file.entries.size, "every trained tensor has moved");
  await Promise.all([file.close(), base.close()]);
  const drawn = await lethe(
    "generate", "--model", "emoji", "--unet", "a.safetensors", "--prompt", "church", "--steps", "2", "--out", "a.png", ...DEVICE_FLAGS,
  );
  assert.is(drawn.code, 0, drawn.stderr);
  const pixels = async (name: string): Promise<Uint8Array> => (await decodePng(name, bytes(name))).data;
  assert.equal(
    await pixels("a.png"),
    await pixels("a.safetensors.run/images/step000004-00.png"),
    "the last preview is what the file draws",
  );
});

test("a killed run goes on to the same bytes, and what was logged beyond its state is done again", async () => {
  const plain = [...SMALL, "--recipe", "esd-2023"];
  assert.is((await lethe(...plain, "--out", "whole.pt")).code, 0);
  const child = spawn(process.execPath, [resolve("dist/cli.js"), ...plain, "--out", "cut.pt"], { cwd: folder, stdio: "ignore" });
  const ended = new Promise((done) => child.on("close", done));
  while (!existsSync(at("cut.pt.run/state.safetensors")) && child.exitCode === null) await new Promise((done) => setTimeout(done, 20));
  child.kill("SIGKILL");
  await ended;
  assert.not.ok(existsSync(at("cut.pt")), "the run was cut off before its end");

  const refused = await lethe(...plain, "--out", "cut.pt");
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /has an unfinished run.*--resume.*--overwrite/s);
  const other = await lethe("unlearn", "--resume", "--steps", "9", "--out", "cut.pt", ...DEVICE_FLAGS);
  assert.match(other.stderr, /--resume: the run of cut\.pt has --steps 4, not 9/);

  const { code, stderr } = await lethe("unlearn", "--resume", "--out", "cut.pt", ...DEVICE_FLAGS);
  assert.is(code, 0, stderr);
  assert.match(stderr, /going on after step [123]/);
  assert.is(sha256("cut.pt"), sha256("whole.pt"));
  const steps = lines("cut.pt.run/log.jsonl").filter((line) => "loss" in line).map(({ step }) => step);
  assert.equal(steps, [1, 2, 3, 4]);
  const again = await lethe("unlearn", "--resume", "--out", "cut.pt", "--json", ...DEVICE_FLAGS);
  assert.is((JSON.parse(again.stdout) as { sha256: string }).sha256, sha256("whole.pt"));
});

test("closed forms: done at once, several concepts, in their layout", async () => {
  const common = ["unlearn", "--model", "emoji", "--method", "uce", "--concept", "church", "--concept", "castle", "--preview-steps", "2"];
  const { code, stdout, stderr } = await lethe(...common, "--recipe", "uce-2023", "--out", "u.pt", "--json", ...DEVICE_FLAGS);
  assert.is(code, 0, stderr);
  const { concepts, loss } = JSON.parse(stdout) as { concepts: string[]; loss: unknown };
  assert.equal([concepts, loss], [["church", "castle"], null]);
  assert.equal(readdirSync(at("u.pt.run/images")).length, 4);
  const file = await openTensorPath(nodeFiles, at("u.pt"));
  assert.ok(file.entries.has("conv_in.weight"), "the whole UNet");
  await file.close();
});

const REFUSALS: readonly (readonly [title: string, flags: readonly string[], message: RegExp])[] = [
  ["no concept", ["--method", "esd-x"], /required option '--concept <text>'/],
  ["an empty concept", ["--method", "esd-x", "--concept", " "], /It is empty/],
  ["a concept without tokens", ["--method", "esd-x", "--concept", "&nbsp;"], /has no token/],
  ["a concept over the limit", ["--method", "esd-x", "--concept", "church ".repeat(40)], /has 40 tokens; the text encoder takes 30/],
  ["no method", ["--concept", "church"], /required option '--method <name>'/],
  ["an unknown method", ["--method", "esd-z", "--concept", "church"], /esd-x, esd-u/],
  ["an unknown recipe", ["--method", "esd-x", "--recipe", "esd-1999", "--concept", "church"], /esd-2023, esd-2025/],
  ["another method's recipe", ["--method", "esd-x", "--recipe", "uce-2023", "--concept", "church"], /not one of esd-x.*esd-2025.*esd-2023/],
  ["another method's option", ["--method", "uce", "--attack-steps", "3", "--concept", "church"], /--attack-steps is of advunlearn/],
  [
    "a family that the recipe is not for",
    ["--method", "esd-x", "--recipe", "esd-2023", "--prediction-type", "v_prediction", "--concept", "church"],
    /epsilon.*v_prediction/,
  ],
  [
    "a layout that cannot hold it",
    ["--method", "esd-x", "--layout", "text-encoder-pt", "--concept", "church"],
    /UNet weights; choose unet-pt/,
  ],
  ["no retain file", ["--method", "esd-x", "--concept", "church", "--retain", "none.txt"], /none\.txt.*no such file/],
  ["a table without prompts", ["--method", "esd-x", "--concept", "church", "--retain", "odd.csv"], /odd\.csv.*no column "prompt"/],
  ["a file without prompts", ["--method", "esd-x", "--concept", "church", "--retain", "blank.txt"], /blank\.txt.*no prompts/],
  ["no pictures", ["--method", "salun", "--concept", "church", "--images", "empty"], /empty.*no pictures/],
  ["retained pictures without prompts", ["--method", "salun", "--concept", "church", "--retain-images", "empty"], /no prompts\.csv/],
  ["two ways at once", ["--method", "esd-x", "--concept", "church", "--resume", "--overwrite"], /give one of them/],
];

test("bad input is refused with one line, before anything is written", async () => {
  writeFileSync(at("odd.csv"), "a,b\n1,2\n");
  writeFileSync(at("blank.txt"), "\n \n");
  mkdirSync(at("empty"), { recursive: true });
  for (const [title, flags, message] of REFUSALS) {
    const { code, stdout, stderr } = await lethe("unlearn", "--model", "emoji", ...flags, "--out", "refused.pt", ...DEVICE_FLAGS);
    assert.is(code, 2, `${title}: ${stderr}`);
    assert.is(stdout, "", title);
    assert.match(stderr, message, title);
    assert.is(stderr.trim().split("\n").length, 1, `${title}: ${stderr}`);
    assert.not.ok(existsSync(at("refused.pt")) || existsSync(at("refused.pt.run")), title);
  }
});

test("a loss that is not a number ends the run; the state before it is kept", async () => {
  const { code, stderr } = await lethe(...SMALL, "--learning-rate", "1e30", "--preview-every", "0", "--out", "nan.pt");
  assert.is(code, 1);
  assert.match(stderr, /error: the loss of step \d is NaN: the training diverged; take a smaller learning rate$/m);
  assert.ok(existsSync(at("nan.pt.run/state.safetensors")));
  assert.not.ok(existsSync(at("nan.pt")));
  assert.is((json("nan.pt.run/run.json") as { status: string }).status, "failed");
});

test("what is there is replaced only when asked, and not by a run that is refused", async () => {
  const quick = [...SMALL, "--steps", "1", "--preview-every", "0"];
  writeFileSync(at("mine.pt"), "mine");
  const kept = async (message: RegExp, ...flags: readonly string[]): Promise<void> => {
    const { code, stderr } = await lethe(...quick, ...flags);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.is(readFileSync(at("mine.pt"), "utf8"), "mine");
  };
  await kept(/mine\.pt is there already.*--overwrite/, "--out", "mine.pt");
  await kept(/mine\.pt is there already.*--overwrite/, "--resume", "--out", "mine.pt");
  await kept(/none\.txt.*no such file/, "--overwrite", "--retain", "none.txt", "--out", "mine.pt");
  await kept(/--attack-steps is of advunlearn/, "--overwrite", "--attack-steps", "3", "--out", "mine.pt");
  const asFolder = ["--layout", "component-folder"];
  await kept(/mine\.pt: is a file; layout component-folder writes a folder/, "--overwrite", ...asFolder, "--out", "mine.pt");
  assert.is((await lethe(...quick, "--overwrite", "--out", "mine.pt")).code, 0);
  assert.ok(bytes("mine.pt").length > 1000);
  const own = await lethe(...quick, "--unet", "mine.pt", "--overwrite", "--out", "mine.pt");
  assert.is(own.code, 2);
  assert.match(own.stderr, /mine\.pt: the run reads .*mine\.pt, which would be replaced/);
});

test("a folder is replaced by a run only where a run wrote all that is in it", async () => {
  const flags = [...SMALL, "--steps", "1", "--preview-every", "0", "--layout", "component-folder", "--out", "whole-unet"];
  assert.is((await lethe(...flags)).code, 0);
  const names = readdirSync(at("whole-unet")).toSorted();
  const before = sha256(`whole-unet/${names.at(-1)!}`);
  assert.is((await lethe(...flags, "--overwrite", "--learning-rate", "1e-3")).code, 0);
  assert.equal(readdirSync(at("whole-unet")).toSorted(), names);
  assert.is.not(sha256(`whole-unet/${names.at(-1)!}`), before);
  writeFileSync(at("whole-unet/notes.txt"), "mine");
  const refused = await lethe(...flags, "--overwrite");
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /whole-unet holds notes\.txt, which no finished run wrote/);
  assert.equal(readdirSync(at("whole-unet")).toSorted(), [...names, "notes.txt"].toSorted());
  const file = await lethe(...SMALL, "--overwrite", "--out", "whole-unet");
  assert.match(file.stderr, /whole-unet: is a folder; layout partial-safetensors writes a file/);
});

test.run();
