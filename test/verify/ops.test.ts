// Ops, small modules and projections of the references, on the device.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { finish } from "../support/device.ts";
import { type Tensor, readFixture, readJson } from "../support/fixtures.ts";
import { allWithin, golden, run, withMemory } from "./support.ts";

for (const [name, rows] of [["conv2d", 15], ["linear_norm_act", 60], ["attention", 55], ["projection", 50]] as const) {
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

/** An `ops` reference of torch.optim.Adam with these settings, in float64 (arXiv 1412.6980). */
function adamReference(
  lr: number,
  decay: number,
  betas: readonly [number, number],
  eps: number,
  words: string,
): Record<string, Uint8Array | string> {
  const [steps, size] = [6, 40];
  const grads = Array.from({ length: steps * size }, (_, i) => Math.fround(0.3 * Math.sin(3 * i + 1)));
  const params = [Array.from({ length: size }, (_, i) => Math.fround(Math.cos(i)))];
  const [m, v] = [new Float64Array(size), new Float64Array(size)];
  for (let step = 1; step <= steps; step++) {
    const before = params.at(-1)!;
    params.push(before.map((p, i) => {
      const g = grads[(step - 1) * size + i]! + decay * p;
      m[i] = betas[0] * m[i]! + (1 - betas[0]) * g;
      v[i] = betas[1] * v[i]! + (1 - betas[1]) * g * g;
      return p - (lr * (m[i]! / (1 - betas[0] ** step))) / (Math.sqrt(v[i]! / (1 - betas[1] ** step)) + eps);
    }));
  }
  const f32 = (shape: readonly number[], data: ArrayLike<number>): Tensor => ({ shape, data: Float32Array.from(data) });
  return golden("adam", { cases: [{ name: "adam", op: "torch.optim.Adam", words }] }, {
    "adam/grads": f32([steps, size], grads), "adam/params": f32([steps + 1, size], params.flat()),
    "adam/exp_avg": f32([size], m), "adam/exp_avg_sq": f32([size], v),
  });
}

test("Adam with other settings, as a case's words give them; without betas and epsilon torch's own", async () => {
  const other = "lr=0.02, weight_decay=0.3 (L2), betas (0.7, 0.95), eps 1e-3 added after the root";
  allWithin(await run("memory", { files: withMemory(adamReference(0.02, 0.3, [0.7, 0.95], 1e-3, other)) }), 3);
  const usual = adamReference(0.05, 0, [0.9, 0.999], 1e-8, "lr=0.05, weight_decay=0");
  allWithin(await run("memory", { files: withMemory(usual) }), 3);
  const { ok } = await run("memory", { files: withMemory(adamReference(0.02, 0.3, [0.7, 0.95], 1e-3, "lr=0.02, weight_decay=0.3")) });
  assert.not.ok(ok);
});

finish();
