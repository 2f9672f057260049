// Ops, small modules and projections of the references, on the device.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { finish } from "../support/device.ts";
import { readFixture, readJson } from "../support/fixtures.ts";
import { allWithin, golden, run, withMemory } from "./support.ts";

for (const [name, rows] of [["conv2d", 15], ["linear_norm_act", 60], ["attention", 80], ["projection", 50]] as const) {
  test(`${name}: every output and gradient of every case`, async () => allWithin(await run(`test/fixtures/golden/${name}.json`), rows));
}

test("wrong settings and an unknown op are failed rows", async () => {
  const json = readJson<{ cases: Record<string, unknown>[] }>("golden/linear_norm_act.json");
  const layerNorm = json.cases.find((c) => c["op"] === "layer_norm")!;
  layerNorm["eps"] = 0.5;
  const unknown = json.cases.find((c) => c["op"] === "softmax")!;
  unknown["op"] = "sparsemax";
  const kept = { ...json, cases: [layerNorm, unknown] };
  const names = kept.cases.map((c) => `${String(c["name"])}/`);
  const tensors = [...readFixture("golden/linear_norm_act.safetensors")].filter(([n]) => names.some((c) => n.startsWith(c)));
  const { ok, rows } = await run("memory", { files: withMemory(golden("linear_norm_act", kept, Object.fromEntries(tensors))) });
  assert.not.ok(ok);
  assert.not.ok(rows.find((r) => r.case === layerNorm["name"] && r.tensor === "y")!.ok);
  assert.match(rows.find((r) => r.case === unknown["name"])!.note!, /no check for op "sparsemax"/);
});

finish();
