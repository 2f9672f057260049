import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readPngTexts } from "../../engine/formats/picture/png.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const COMMON = ["generate", "--model", "emoji", "--prompt", "a picture of a church", "--seed", "17309", ...DEVICE_FLAGS] as const;
const bytes = (name: string): Buffer => readFileSync(join(folder, name));

test("draws a picture, reproducibly, with its parameters inside", async () => {
  const first = await lethe(...COMMON, "--steps", "3", "--out", "deep/er/a.png");
  assert.equal([first.code, first.stdout], [0, "deep/er/a.png\n"], first.stderr);
  assert.match(first.stderr, /peak device memory/);
  const again = await lethe(...COMMON, "--steps", "3", "--out", "b.png", "--quiet", "--json", "--no-buffer-sharing");
  assert.is(again.stderr.trim(), "");
  const json = JSON.parse(again.stdout) as { images: object[]; steps: number; scheduler: string; adapter: string; peakBytes: number };
  assert.equal([json.images, json.steps, json.scheduler], [[{ file: "b.png", seed: 17309 }], 3, "ddim"]);
  assert.ok(json.peakBytes > 1e6 && json.adapter !== "");
  const [a, b] = await Promise.all(["deep/er/a.png", "b.png"].map((n) => decodePng(n, bytes(n))));
  assert.equal(a, b);
  const texts = await readPngTexts("b.png", bytes("b.png"));
  assert.match(
    texts.get("parameters")!,
    /^a picture of a church\nSteps: 3, Sampler: DDIM, CFG scale: 7.5, Seed: 17309, Size: 64x64, Model: emoji, Version: lethe /,
  );
  assert.is((JSON.parse(texts.get("lethe")!) as { seed: number }).seed, 17309);
});

test("several pictures have a seed each, and a picture does not depend on its neighbours", async () => {
  const both = await lethe(...COMMON, "--steps", "2", "--count", "2", "--out", "many.png", "--json");
  assert.equal((JSON.parse(both.stdout) as { images: object[] }).images, [
    { file: "many-17309.png", seed: 17309 },
    { file: "many-17310.png", seed: 17310 },
  ]);
  const second = await lethe(...COMMON, "--steps", "2", "--seed", "17310", "--out", "second.png");
  assert.is(second.code, 0, second.stderr);
  assert.equal(await decodePng("a", bytes("many-17310.png")), await decodePng("b", bytes("second.png")));
});

test("float32 weights that the device has no memory for are stored as halves, which is said; --weights f32 keeps them", async () => {
  const within = ["--steps", "2", "--memory-limit", "0.016"];
  const small = await lethe(...COMMON, ...within, "--out", "small.png");
  assert.is(small.code, 0, small.stderr);
  assert.match(small.stderr, /stored as halves: as float32 they take \d+\.\d MiB, and the device has 16\.4 MiB; --weights f32 keeps them/);
  const halves = await lethe(...COMMON, "--steps", "2", "--weights", "f16", "--out", "halves.png");
  assert.not.match(halves.stderr, /stored as halves/);
  assert.equal(await decodePng("a", bytes("small.png")), await decodePng("b", bytes("halves.png")));
  const kept = await lethe(...COMMON, ...within, "--weights", "f32", "--out", "kept.png");
  assert.is(kept.code, 2);
  assert.match(kept.stderr, /memory/);
});

test("schedulers, Safe Latent Diffusion, negative prompt, another size, and a profile", async () => {
  const plain = bytes("second.png");
  const runs = [
    ...["pndm", "euler-ancestral"].map((name) => ["--scheduler", name]),
    ["--sld", "max", "--steps", "4"],
    ["--negative-prompt", "house", "--guidance", "3"],
    ["--guidance", "1", "--eta", "1"],
    ["--width", "48", "--height", "32"],
  ];
  for (const [i, flags] of runs.entries()) {
    const ran = await lethe(...COMMON, "--steps", "3", ...flags, "--out", `run${i}.png`, ...(i === 0 ? ["--profile", "profile.json"] : []));
    assert.is(ran.code, 0, `${flags.join(" ")}: ${ran.stderr}`);
    assert.not.equal(bytes(`run${i}.png`), plain);
  }
  const { width, height } = await decodePng("x", bytes(`run${runs.length - 1}.png`));
  assert.equal([width, height], [48, 32]);
  const profile = JSON.parse(bytes("profile.json").toString()) as {
    kernels: { kernel: string; count: number; milliseconds: number }[];
    programs: { program: string; runs: number }[];
  };
  assert.ok(profile.kernels.some((k) => k.kernel === "matmul" && k.count > 10 && k.milliseconds > 0));
  assert.ok(profile.programs.some((p) => p.program.startsWith("sample") && p.runs === 4));
});

test("doctor passes its self-test", async () => {
  const { code, stdout } = await lethe("doctor", "--json", ...DEVICE_FLAGS);
  const json = JSON.parse(stdout) as { ok: boolean; selfTest: { ok: boolean }[]; untested: string[]; facts: Record<string, string> };
  assert.equal([code, json.ok, json.untested, json.selfTest.filter((r) => !r.ok)], [0, true, [], []]);
  assert.ok(json.facts["adapter"]);
  assert.not.ok(existsSync(join(folder, "doctor")));
});

test.run();
