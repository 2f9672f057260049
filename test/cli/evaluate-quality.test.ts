/** The quality block of an evaluation: every checkpoint's pictures scored, in the tables, in conditions, in parts and gone on with. */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { folder, lethe } from "./support.ts";

const QUALITY = {
  captions: "captions.csv", real: "emoji/dataset/fish/imgs", inception: "emoji/classifier/object", steps: 2, scheduler: "ddim",
  bootstrap: 5, kidSubsets: 2,
};
const CONFIG = {
  model: "emoji",
  sampling: { scheduler: "ddim", steps: 2 },
  base: true,
  checkpoints: [{ name: "uce", unet: "emoji/unlearned/uce-like-church/unet.safetensors", concepts: ["church"] }],
  concepts: [{ name: "church", prompts: "emoji/dataset/church/prompts.csv", judge: "emoji-object", label: "church", limit: 1 }],
  attackers: [{ name: "plain", attacker: "no-attack" }],
};

function config(name: string, quality: object, more: object = {}): string {
  writeFileSync(join(folder, name), JSON.stringify({ ...CONFIG, ...more, quality }));
  return name;
}

type Json = Readonly<Record<string, unknown>>;
type Row = Json & { readonly quality?: { readonly frechet: number; readonly kid: number; readonly distanceName: string } };

function fileOf(name: string): string {
  return readFileSync(join(folder, name), "utf8");
}

test("checkpoints' pictures are scored, whole and in parts alike, and stand in every table", async () => {
  writeFileSync(join(folder, "captions.csv"), "case_number,prompt,evaluation_seed\n1,a fish,1\n2,a dog,2\n3,a frog,3\n");
  config("q.json", QUALITY);
  const planned = await lethe("evaluate", "q.json", "--out", "none", "--dry-run", "--json");
  const plan = JSON.parse(planned.stdout) as Json;
  assert.equal(plan["quality"], ["uce", "original"].map((checkpoint) => ({ checkpoint, pictures: 3, drawn: true })));
  assert.not(existsSync(join(folder, "none")));

  const whole = await lethe("evaluate", "q.json", "--out", "whole", "--json", "--fail-if", "frechet-distance>1");
  assert.is(whole.code, 4, whole.stderr);
  const json = JSON.parse(whole.stdout) as Json & { readonly rows: Row[]; readonly gates: readonly Json[] };
  assert.is(json["plan"], plan["plan"]);
  const scores = json.rows[0]!.quality!;
  assert.is(scores.distanceName, "Frechet distance");
  assert.ok(scores.frechet > 0);
  assert.equal(json.gates.map((g) => [g["row"], g["rate"]]), [["uce", scores.frechet]]);
  assert.match(fileOf("whole/leaderboard.csv").split("\n")[0]!, /fid,fid_low_95.*frechet_distance.*kid,kid_std,clip_score/);
  assert.match(fileOf("whole/leaderboard.md"), /Frechet distance[^]*This is not an FID/);
  assert.match(fileOf("whole/report.html"), /Beside the model before unlearning[^]*aria-label="[^"]*uce: a fish"/);
  assert.not.match(fileOf("whole/leaderboard.tex"), /& FID &/);
  const own = JSON.parse(fileOf("whole/quality/uce/result.json")) as Json;
  assert.is(own["frechetDistance"], scores.frechet);

  for (const part of ["1/2", "2/2"]) assert.is((await lethe("evaluate", "q.json", "--out", "parts", "--shard", part)).code, 0);
  const merged = await lethe("merge", "parts", "--out", "merged", "--json");
  assert.is(merged.code, 0, merged.stderr);
  const again = (JSON.parse(merged.stdout) as typeof json).rows[0]!.quality!;
  assert.equal([again.frechet, again.kid], [scores.frechet, scores.kid]);
  assert.is(fileOf("merged/leaderboard.csv"), fileOf("whole/leaderboard.csv"));
  assert.ok(existsSync(join(folder, "merged/quality/uce/pictures/3_0.png")));

  const card = await lethe("card", "whole");
  assert.match(card.stdout, /Frechet distance/);
  const diff = await lethe("diff", "whole", "merged", "--json");
  const pairs = (JSON.parse(diff.stdout) as { readonly scores: readonly Json[] }).scores;
  assert.equal(pairs.map((p) => [p["name"], p["score"], p["difference"]]).slice(0, 2), [
    ["uce", "Frechet distance", 0], ["uce", "kernel distance", 0],
  ]);
});

test("an unfinished scoring is gone on with; other pictures are not compared with it", async () => {
  rmSync(join(folder, "whole/quality/original/result.json"));
  const unasked = await lethe("evaluate", "q.json", "--out", "whole");
  assert.is(unasked.code, 2);
  assert.match(unasked.stderr, /1 of 2 checkpoints' pictures scored\): add --resume/);
  const resumed = await lethe("evaluate", "q.json", "--out", "whole", "--resume");
  assert.is(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stderr, /3 of 3 generated pictures are done already/);

  for (const name of ["uce", "original"]) {
    cpSync(join(folder, "whole/quality", name, "pictures"), join(folder, "drawn", name), { recursive: true });
  }
  config("i.json", { ...QUALITY, captions: undefined, images: "drawn/{checkpoint}", real: "emoji/dataset/church/imgs" });
  const scored = await lethe("evaluate", "i.json", "--out", "images", "--json");
  assert.is(scored.code, 0, scored.stderr);
  const diff = await lethe("diff", "whole", "images", "--json");
  assert.match(String((JSON.parse(diff.stdout) as { readonly cautions: readonly string[] }).cautions), /not comparable/);
});

test("what cannot be scored is told before anything is attacked", async () => {
  writeFileSync(join(folder, "seedless.csv"), "case_number,prompt\n1,x\n");
  const cases: [object, RegExp][] = [
    [{ ...QUALITY, captions: "seedless.csv" }, /seedless\.csv: has no column "evaluation_seed"|evaluation_seed/],
    [{ ...QUALITY, real: "nowhere" }, /nowhere/],
    [{ ...QUALITY, inception: undefined }, /quality: .*--inception/],
    [{ ...QUALITY, images: "drawn" }, /images must name \{checkpoint\}|give either/],
    [{ ...QUALITY, inception: "emoji/unet/diffusion_pytorch_model.safetensors" }, /has no tensor/],
    [{ ...QUALITY, recipe: "best" }, /quality\.recipe must be one of/],
    [{ ...QUALITY, speed: 1 }, /quality\.speed is not known/],
  ];
  for (const [quality, message] of cases) {
    const { code, stderr } = await lethe("evaluate", config("bad.json", quality), "--out", "bad");
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.not(existsSync(join(folder, "bad")));
  }
  const [church] = CONFIG.checkpoints;
  for (const [how, message] of [
    [{ safree: "church" }, /checkpoint "uce": quality does not draw under SAFREE: give it images/],
    [{ endpoint: "http://127.0.0.1:9/v1" }, /checkpoint "uce": quality does not draw by an endpoint: give it images/],
  ] as const) {
    const { code, stderr } = await lethe("evaluate", config("bad.json", QUALITY, { checkpoints: [{ ...church, ...how }] }), "--out", "bad");
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
  const gate = await lethe("evaluate", "q.json", "--out", "bad", "--fail-if", "fid>3");
  assert.is(gate.code, 2);
  assert.match(gate.stderr, /its file's quality does not measure it/);
});

test.run();
