import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RunRecord } from "../../engine/run/record.ts";
import { isPng } from "../../engine/formats/picture/png.ts";
import { SMALL_ATTACK, folder, lethe, start } from "./support.ts";

interface Line {
  readonly ids: number[];
  readonly prompt: string;
  readonly loss: number | null;
  readonly image: string;
  readonly iteration: number;
}

const read = (...path: string[]): string => readFileSync(join(folder, ...path), "utf8");
const lines = (out: string): Line[] => read(out, "attack.jsonl").trim().split("\n").map((l) => JSON.parse(l) as Line);
const record = (out: string): RunRecord => JSON.parse(read(out, "run.json")) as RunRecord;
/** What must be the same however often a run was interrupted. */
const course = (out: string): unknown =>
  lines(out).map(({ ids, prompt, loss, image, iteration }) => ({ ids, prompt, loss, image, iteration }));

test("writes a log, pictures, a record and a report; --json prints one object of the agreed form", async () => {
  const { code, stdout, stderr } = await lethe("attack", ...SMALL_ATTACK, "--out", "whole", "--json");
  assert.is(code, 0, stderr);
  const json = JSON.parse(stdout) as Record<string, unknown>;
  assert.is(stdout.trim().split("\n").length, 1);
  assert.equal(Object.keys(json), [
    "success",
    "prompt",
    "adversarialPrompt",
    "adversarialIds",
    "iterations",
    "timestep",
    "preSuccess",
    "score",
    "label",
    "seconds",
    "adapter",
    "peakBytes",
    "out",
  ]);
  assert.equal([json["prompt"], json["iterations"], json["out"]], ["a church", 9, "whole"]);
  const log = lines("whole");
  assert.is(log.length, 4);
  for (const line of log) {
    assert.equal(Object.keys(line), ["timestep", "iteration", "ids", "prompt", "loss", "seed", "scores", "success", "image", "ms"]);
    assert.ok(isPng(readFileSync(join(folder, "whole", line.image))));
  }
  const { settings, files, status, result, command, peakBytes } = record("whole");
  assert.equal(
    [status, settings.scheduler, settings.weightDecay, result?.adversarialPrompt],
    ["finished", "ddim", 0.1, json["adversarialPrompt"]],
  );
  assert.ok(peakBytes > 1e6);
  assert.ok(files.some((f) => f.role === "unet overlay" && /^[0-9a-f]{64}$/.test(f.sha256) && f.path.endsWith("ESDx-church-UNet.pt")));
  assert.match(command, /^npx lethe attack --model emoji --prompt 'a church' /);
  const report = read("whole", "report.html");
  for (const part of [
    "<!DOCTYPE html>",
    "was not brought back",
    "data:image/png;base64,",
    "<svg",
    files[0]!.sha256,
    "ESDx-church-UNet.pt",
  ]) {
    assert.ok(report.includes(part), part);
  }
  assert.not.match(report, /<script|https?:\/\/|src="(?!data:)/);
  assert.not.ok(existsSync(join(folder, "whole/state.safetensors")));
  assert.equal(readdirSync(join(folder, "whole")).toSorted(), ["attack.jsonl", "images", "report.html", "report.json", "run.json"]);
});

test("a finished run is only shown again by --resume", async () => {
  const { code, stdout } = await lethe("attack", "--resume", "--out", "whole", "--json");
  assert.is(code, 0);
  assert.is((JSON.parse(stdout) as { adversarialPrompt: string }).adversarialPrompt, record("whole").result!.adversarialPrompt);
});

test("Ctrl-C leaves a run that --resume ends as if nothing had happened", async () => {
  const running = start(["attack", ...SMALL_ATTACK, "--out", "cut"]);
  await running.said(/iteration 3 /);
  running.interrupt();
  const { code, stderr, stdout } = await running.ended;
  assert.is(code, 130, stderr);
  assert.is(stdout, "");
  assert.match(stderr, /to go on: npx lethe attack --resume .*--out cut/);
  assert.is(record("cut").status, "interrupted");
  assert.match(read("cut", "report.html"), /Interrupted/);
  const done = lines("cut").length;
  assert.ok(done >= 2 && done < 4);

  const again = await lethe("attack", ...SMALL_ATTACK, "--out", "cut");
  assert.is(again.code, 2);
  assert.match(again.stderr, /unfinished attack, .*--resume/);
  const other = await lethe("attack", "--resume", "--tokens", "4", "--out", "cut");
  assert.is(other.code, 2);
  assert.match(other.stderr, /--tokens 2, not 4/);

  // A line of work that was not finished, as a crash leaves it, and a torn one.
  writeFileSync(join(folder, "cut/attack.jsonl"), `${read("cut", "attack.jsonl")}{"timestep":999,"image":"images/x.png"}\n{"timest`);
  const resumed = await lethe("attack", "--resume", "--out", "cut");
  assert.is(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stderr, /going on after [36] iterations/);
  assert.equal(course("cut"), course("whole"));
  assert.is(record("cut").status, "finished");
  assert.ok(record("cut").seconds > 0);
});

test(
  "a folder that holds a run is refused as it is; --overwrite replaces the run; a target is fitted as the reference does, and a " +
    "wrong one is remarked upon",
  async () => {
    const device = SMALL_ATTACK.slice(SMALL_ATTACK.indexOf("ddim") + 1);
    const drawn = await lethe(
      "generate",
      "--model",
      "emoji",
      "--prompt",
      "a house",
      "--steps",
      "8",
      "--width",
      "96",
      "--height",
      "80",
      ...device,
      "--out",
      "house.png",
    );
    assert.is(drawn.code, 0, drawn.stderr);
    const flags = [...SMALL_ATTACK] as string[];
    flags[flags.indexOf("--target") + 1] = "house.png";
    flags[flags.indexOf("--max-timesteps") + 1] = "2";
    const before = read("whole", "run.json");
    const kept = await lethe("attack", ...flags, "--attacker", "random", "--out", "whole");
    assert.is(kept.code, 2);
    assert.match(
      kept.stderr,
      /whole holds a finished attack, which would be lost: add --resume to go on with it or --overwrite to replace it, or give another f/,
    );
    assert.is(read("whole", "run.json"), before);
    writeFileSync(join(folder, "whole/run.json"), "{ broken");
    const unread = await lethe("attack", ...flags, "--attacker", "random", "--out", "whole");
    assert.is(unread.code, 2);
    assert.match(unread.stderr, /run\.json/);
    const { code, stdout, stderr } = await lethe("attack", ...flags, "--attacker", "random", "--overwrite", "--out", "whole");
    assert.is(code, 0, stderr);
    assert.match(stderr, /target fitted from 96x80 to 64x64 pixels \(bicubic, centre crop\)/);
    assert.match(stderr, /warning: the judge does not see church in the target/);
    assert.match(stdout, /^(not )?found: "/);
    const pictures = readdirSync(join(folder, "whole/images"));
    assert.is(pictures.length, lines("whole").length + 1);
    assert.ok(pictures.includes("target.png"));
    assert.match(read("whole", "report.html"), /no gradient iterations/);
    assert.match(
      (JSON.parse(read("whole", "run.json")) as { warnings: string[] }).warnings.join("\n"),
      /^the judge does not see church in the target/,
    );
  },
);

test.run();
