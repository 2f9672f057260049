/** `lethe quality`: a small run whole, in parts and gone on with; bad input in one line with exit code 2 and nothing written. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeStatistics } from "../../engine/metrics/distance/statistics-file.ts";
import { folder, lethe } from "./support.ts";

const REAL = "emoji/dataset/church/imgs";
const NETWORK = ["--inception", "emoji/classifier/object"];
const FAST = ["--count", "4", "--steps", "2", "--scheduler", "ddim", "--kid-subsets", "2", "--bootstrap", "0"];

function file(name: string, content: Uint8Array | string): string {
  writeFileSync(join(folder, name), content);
  return name;
}

test("drawn in two parts and merged it is what one process gives; a finished run is not overwritten unasked", async () => {
  file("captions.csv", "case_number,prompt,evaluation_seed\n1,a church,1\n2,a dog,2\n3,a tree,3\n4,a cat,4\n");
  const draw = ["quality", "--model", "emoji", "--captions", "captions.csv", "--real", REAL, ...NETWORK, ...FAST];
  const whole = await lethe(...draw, "--out", "whole", "--json");
  assert.is(whole.code, 0, whole.stderr);
  const json = JSON.parse(whole.stdout) as Record<string, unknown>;
  assert.equal([json["fid"], json["count"], json["realCount"], json["recipe"]], [null, 4, 4, null]);
  assert.ok(Number(json["frechetDistance"]) > 0 && typeof json["kid"] === "number" && typeof json["seconds"] === "number");
  assert.ok(existsSync(join(folder, "whole/pictures/3_0.png")) && existsSync(join(folder, "whole/statistics.npz")));
  for (const part of ["1/2", "2/2"]) {
    const ran = await lethe(...draw, "--shard", part, "--out", "parts");
    assert.is(ran.code, 0, ran.stderr);
  }
  const merged = await lethe("merge", "parts", "--out", "merged", "--json");
  assert.is(merged.code, 0, merged.stderr);
  for (const field of ["frechetDistance", "kid", "count"]) assert.is((JSON.parse(merged.stdout) as typeof json)[field], json[field]);
  const half = await lethe("merge", "parts/shard-1-of-2", "--out", "half");
  assert.match(half.stderr, /2 of 4 generated pictures are missing from the folders/);
  const again = await lethe(...draw, "--out", "whole");
  assert.is(again.code, 2);
  assert.match(again.stderr, /--resume .*or --overwrite/);
  const resumed = await lethe(...draw, "--resume", "--out", "whole", "--json");
  assert.is((JSON.parse(resumed.stdout) as typeof json)["frechetDistance"], json["frechetDistance"]);
  const other = await lethe(...draw, "--guidance", "3", "--resume", "--out", "whole");
  assert.match(other.stderr, /is of another run/);
});

test("bad input is told in one line, and nothing is written", async () => {
  mkdirSync(join(folder, "few"));
  for (const name of ["a", "b"]) file(`few/${name}.png`, readFileSync(`assets/emoji/dataset/church/imgs/0_0.png`));
  mkdirSync(join(folder, "cut"));
  file("cut/good.png", readFileSync(`assets/emoji/dataset/church/imgs/0_0.png`));
  file("cut/torn.png", readFileSync(`assets/emoji/dataset/church/imgs/0_0.png`).subarray(0, 200));
  file("narrow.npz", await writeStatistics({ mean: new Float64Array(3), covariance: { data: new Float64Array(9), rows: 3, columns: 3 } }));
  file("seedless.csv", "case_number,prompt\n1,x\n");
  file("one.csv", "case_number,prompt,evaluation_seed\n99,x,1\n");
  const given = ["--images", "few", "--real", REAL];
  const cases: [readonly string[], RegExp][] = [
    [["--images", "few"], /nothing to score with/],
    [[...given], /--inception/],
    [[...given, "--inception", "narrow.npz"], /neither a safetensors file nor a PyTorch checkpoint|narrow.npz/],
    [
      [...given, "--inception", "emoji/unet/diffusion_pytorch_model.safetensors"],
      /has no tensor "Conv2d_1a_3x3.conv.weight".*pt_inception-2015/,
    ],
    [["--images", "none", "--real", REAL, ...NETWORK], /none: cannot be listed: no such file or folder/],
    [["--images", "cut", "--real", REAL, ...NETWORK], /torn.png/],
    [
      ["--images", "few", "--statistics", "narrow.npz", ...NETWORK],
      /128 features of the generated pictures, 3 of narrow.npz: they are of different networks/,
    ],
    [["--model", "emoji", "--captions", "seedless.csv", "--real", REAL, ...NETWORK], /no column "evaluation_seed"/],
    [["--images", "few", "--captions", "one.csv", "--real", REAL, ...NETWORK], /1 of 1 captions have no picture, the first 99_0.png/],
    [["--model", "emoji", ...given, ...NETWORK], /either --model.*or --images/],
  ];
  for (const [i, [flags, why]] of cases.entries()) {
    const ran = await lethe("quality", ...flags, ...FAST, "--out", `bad-${i}`);
    assert.is(ran.code, 2, `${flags.join(" ")}: ${ran.stderr}`);
    assert.match(ran.stderr.trim().split("\n").at(-1)!, why);
  }
  const skipped = await lethe("quality", "--images", "cut", "--real", REAL, ...NETWORK, ...FAST, "--skip-unreadable", "--out", "skipped");
  assert.match(skipped.stderr, /passed over: .*torn.png/);
});

test.run();
