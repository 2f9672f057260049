/** `lethe bench` as a user runs it: a quick run, comparing its result with itself, and a chart of it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseResult } from "../../bench/results.ts";
import { readResult, writeResult } from "../../cli/tools/bench-file.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

test("bench --quick: a valid result on stdout and in the file, a profile with a trace, nothing saved unasked", async () => {
  const ran = await lethe(
    "bench",
    "ops",
    "--quick",
    "--filter",
    "norm",
    "--json",
    "--result",
    "new/folder/r.json",
    "--profile",
    "p.json",
    ...DEVICE_FLAGS,
  );
  assert.is(ran.code, 0, ran.stderr);
  const printed = JSON.parse(ran.stdout) as { file: string; rows: readonly { name: string }[] };
  assert.is(printed.file, "new/folder/r.json");
  const saved = parseResult("new/folder/r.json", readFileSync(join(folder, "new/folder/r.json"), "utf8"));
  assert.equal(printed.rows, JSON.parse(JSON.stringify(saved.rows)));
  assert.equal(new Set(saved.rows.map((r) => r.name)), new Set(["group-norm 48 @16", "layer-norm 64x64"]));
  assert.ok(saved.stamp.adapter.description !== "" && saved.stamp.machine.cores > 0 && saved.stamp.versions.webgpu !== "unknown");
  const profile = JSON.parse(readFileSync(join(folder, "p.json"), "utf8")) as {
    traceEvents: readonly { ph: string; dur?: number; name: string }[];
  };
  assert.match(ran.stderr, /kernel +dispatches +ms +share +GFLOP\/s +GB\/s +of roof\n[a-z-]+ .*%\n/);
  assert.ok(profile.traceEvents.some((e) => e.ph === "X" && e.name === "layer-norm" && e.dur! >= 0));
  assert.not.ok(existsSync(join(folder, "bench")));
});

test("bench compare: a result did not move against itself; a slower one is told, and --strict fails", async () => {
  const same = await lethe("bench", "compare", "new/folder/r.json", "new/folder/r.json", "--strict", "--json");
  assert.is(same.code, 0, same.stderr);
  assert.ok((JSON.parse(same.stdout) as { comparisons: readonly { verdict: string }[] }).comparisons.every((c) => c.verdict === "same"));
  const result = parseResult("new/folder/r.json", readFileSync(join(folder, "new/folder/r.json"), "utf8"));
  const times = <T extends { median: number; min: number }>(t: T): T => ({
    ...t,
    median: Number((100 * t.median).toPrecision(6)),
    min: Number((100 * t.min).toPrecision(6)),
  });
  const slower = { ...result, rows: result.rows.map((r) => ({ ...r, wall: times(r.wall!), cpu: times(r.cpu!) })) };
  await writeResult(join(folder, "slow.json.gz"), slower);
  assert.equal(readFileSync(join(folder, "slow.json.gz")).subarray(0, 2), Buffer.from([0x1f, 0x8b]));
  assert.equal(await readResult(join(folder, "slow.json.gz")), slower);
  const slow = await lethe("bench", "compare", "new/folder/r.json", "slow.json.gz", "--strict");
  assert.is(slow.code, 1, slow.stderr);
  assert.match(slow.stdout, /slower .*layer-norm 64x64/);
});

test("bench chart writes an SVG", async () => {
  const ran = await lethe("bench", "chart", "new/folder/r.json", "--out", "c.svg");
  assert.is(ran.code, 0, ran.stderr);
  assert.match(readFileSync(join(folder, "c.svg"), "utf8"), /^<svg [^]*layer-norm 64x64[^]*<\/svg>\n$/);
});

test("bench: what cannot be is refused with exit code 2", async () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["bench", "nothing"], /no suite "nothing"; there are ops, unet, vae, attack/],
    [["bench", "ops", "--quick", "--filter", "no such op", ...DEVICE_FLAGS], /no row's name contains "no such op"/],
    [["bench", "ops", "--quick", "--peers", "nowhere", ...DEVICE_FLAGS], /nowhere: no node_modules.*npm install --prefix nowhere/],
    [["bench", "compare", "new/folder/r.json", "missing.json"], /missing\.json/],
    [["bench", "compare", "new/folder/r.json", "torn.json.gz"], /torn\.json\.gz: no gzipped file/],
    [["bench", "chart", "p.json", "--out", "d.svg"], /p\.json: not a result of "lethe bench"/],
  ];
  writeFileSync(join(folder, "torn.json.gz"), readFileSync(join(folder, "slow.json.gz")).subarray(0, 200));
  for (const [args, pattern] of cases) {
    const ran = await lethe(...args);
    assert.is(ran.code, 2, `${args.join(" ")}: ${ran.stderr}`);
    assert.match(ran.stderr, pattern);
  }
});

test.run();
