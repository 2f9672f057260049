/** `lethe card`: what a model card says, against counts of its own, and the hub's form. No device is needed. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wilson } from "../../engine/metrics/intervals.ts";
import { evalResultsYaml } from "../../engine/run/card/card.ts";
import type { Manifest } from "../../engine/run/leaderboard/manifest.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { evaluationOf } from "../support/evaluation.ts";
import { folder, lethe } from "./support.ts";

const { cells, lines } = evaluationOf("esd-x", "grad", "church", [true, true, true, false, false, false, false, false]);
const manifest: Manifest = {
  form: "lethe evaluation 1", name: "Mine", sha256: "abc", shard: null, lethe: "0.1.0", file: "x.json", config: {}, cells,
};

/** Flat "key: value" lines of an entry, as a reader of YAML sees them; values in quotes are JSON, which YAML takes. */
function entryOf(yaml: string): Record<string, unknown> {
  const pairs = [...yaml.matchAll(/^ +(\w+): (.+)$/gm)];
  return Object.fromEntries(
    pairs.map(([, key, value]) => [key, JSON.parse(/^["\d]/.test(value!) ? value! : JSON.stringify(value)) as unknown]),
  );
}

test(".eval_results has the rate in per cent and its interval, under the benchmark that was named", () => {
  const yaml = evalResultsYaml(cellStatistics(cells, lines), manifest, { dataset: "org/bench", date: "2026-01-02" });
  const entry = entryOf(yaml);
  assert.equal(
    [entry["id"], entry["task_id"], entry["value"], entry["date"], entry["evaluation_framework"]],
    ["org/bench", "church-grad", 37.5, "2026-01-02", "lethe"],
  );
  const { low, high } = wilson(3, 8);
  assert.ok(
    String(entry["notes"]).includes(`interval ${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)}, 8 prompts`),
    String(entry["notes"]),
  );
  assert.match(String(entry["notes"]), /plan abc/);
  assert.match(yaml, /^- dataset:\n/);
});

test("what cannot be a card is refused", async () => {
  for (const [args, pattern] of [
    [["absent"], /does not hold an evaluation/],
    [["empty"], /without a finished attempt/],
    [["empty", "--dataset", "nothing"], /is not ORG\/NAME/],
  ] as const) {
    mkdirSync(join(folder, "empty"), { recursive: true });
    writeFileSync(join(folder, "empty/evaluation.json"), JSON.stringify(manifest));
    const { code, stderr } = await lethe("card", ...args);
    assert.is(code, 2);
    assert.match(stderr, pattern);
  }
  assert.is(readFileSync(join(folder, "empty/evaluation.json"), "utf8"), JSON.stringify(manifest));
});

test.run();
