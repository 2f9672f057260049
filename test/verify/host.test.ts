// Forms that need no device, and references that are broken, unknown or incomplete.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { VerifyResult } from "../../engine/verify/index.ts";
import { relativeL2 } from "../../engine/verify/rows.ts";
import { floats, readFixture, readJson } from "../support/fixtures.ts";
import { allWithin, golden, run, withMemory } from "./support.ts";

const test = suite("verify on the host");

const noDevice = (): never => {
  throw new Error("a device was asked for");
};
const onHost = (path: string, contents: Readonly<Record<string, Uint8Array | string>> = {}): Promise<VerifyResult> =>
  run(path, { device: noDevice, files: withMemory(contents) });

test("torch's generator", async () => allWithin(await onHost("test/fixtures/torch-rng.json"), 150));
test("schedulers", async () => allWithin(await onHost("test/fixtures/schedulers"), 90));
test("tokenizer", async () => allWithin(await onHost("test/fixtures/tokenizer/tokenizer.json"), 1300));
test("insertion layouts", async () => allWithin(await onHost("test/fixtures/attack/insertion_layouts.json"), 100));

test("work is told by file", async () => {
  const { files } = await onHost("test/fixtures/torch-rng.json");
  assert.equal(
    files.map(({ file, peakBytes, flops }) => ({ file, peakBytes, flops })),
    [{ file: "torch-rng.json", peakBytes: 0, flops: 0 }],
  );
  assert.ok(files[0]!.seconds > 0);
});

test("a wrong number is a failed row, the others stay", async () => {
  const rng = readJson<{ uniform: { values: number[] } }>("torch-rng.json");
  rng.uniform.values[3] = 0.5;
  const { ok, rows } = await onHost("memory/torch-rng.json", { "memory/torch-rng.json": JSON.stringify(rng) });
  assert.not.ok(ok);
  const failed = rows.filter((r) => !r.ok);
  assert.equal(failed.map((r) => [r.file, r.case, r.error]), [["torch-rng.json", "uniform", 1]]);
});

test("a wrong trajectory is a failed row with its error", async () => {
  const json = readJson<{ cases: { name: string; config: Record<string, unknown> }[] }>("schedulers/schedulers.json");
  json.cases.find((c) => c.name === "ddim_eta0.n10")!.config["set_alpha_to_one"] = true;
  const files = withMemory({
    "memory/schedulers.json": JSON.stringify(json),
    "memory/schedulers.safetensors": readFileSync("test/fixtures/schedulers/schedulers.safetensors"),
  });
  const { ok, rows } = await run("memory", { device: noDevice, files });
  assert.not.ok(ok);
  const failed = rows.filter((r) => !r.ok);
  assert.equal(failed.map((r) => [r.case, r.tensor]), [["ddim_eta0.n10", "traj"]]);
  assert.ok(failed[0]!.error! > 1e-5);
});

test("an unknown form, an unknown attacker's tensors and a file that is no JSON are failed rows", async () => {
  const { ok, rows } = await onHost("memory", {
    ...golden("mystery", { what: "nothing we know" }, { a: { shape: [1], data: new Float32Array(1) } }),
    "memory/broken.json": "{",
    "memory/torch-rng.json": JSON.stringify({ note: "", randn: [], surprise: 1 }),
  });
  assert.not.ok(ok);
  const notes = rows.map((r) => `${r.file}: ${r.note}`);
  assert.match(notes.find((n) => n.startsWith("broken.json"))!, /is not valid JSON/);
  assert.match(notes.find((n) => n.startsWith("mystery.json"))!, /no check for this form/);
  assert.match(notes.find((n) => n.startsWith("torch-rng.json"))!, /no check for "surprise"/);
});

test("a tensor that no check reads is a failed row", async () => {
  const tensors = readFixture("schedulers/schedulers.safetensors");
  const json = readJson<object>("schedulers/schedulers.json");
  const { rows } = await onHost(
    "memory",
    golden("schedulers", json, Object.fromEntries([...tensors, ["stray", { shape: [2], data: floats(tensors, "x_unit").slice(0, 2) }]])),
  );
  assert.equal(
    rows.filter((r) => !r.ok).map((r) => [r.tensor, r.note]),
    [["stray", "no check for this tensor"]],
  );
});

test("a case without its tensors is a failed row that names them", async () => {
  const tensors = readFixture("schedulers/schedulers.safetensors");
  tensors.delete("pndm.n10.traj");
  const { rows } = await onHost(
    "memory",
    golden("schedulers", readJson<object>("schedulers/schedulers.json"), Object.fromEntries(tensors)),
  );
  const failed = rows.filter((r) => !r.ok);
  assert.is(failed.length, 1);
  assert.match(`${failed[0]!.case} ${failed[0]!.note}`, /pndm\.n10 .*no tensor "pndm\.n10\.traj"/);
});

test("a form that needs a model says so without one", async () => {
  const { ok, rows } = await onHost(
    "memory",
    golden(
      "golden_text_encoder",
      { cases: [] },
      { ids: { shape: [1, 2], data: new Int32Array(2) }, last_hidden_state: { shape: [1, 2, 4], data: new Float32Array(8) } },
    ),
  );
  assert.not.ok(ok);
  assert.match(rows[0]!.note!, /give --model/);
});

async function refused(path: string, contents: Readonly<Record<string, Uint8Array | string>>, pattern: RegExp): Promise<void> {
  try {
    await onHost(path, contents);
  } catch (error) {
    assert.match((error as Error).message, pattern);
    assert.is((error as { exitCode?: number }).exitCode, 2);
    return;
  }
  assert.unreachable(`${path} was not refused`);
}

test("nothing there, nothing in the folder, and a single file that is not a reference end with exit status 2", async () => {
  await refused("memory/none", {}, /no such file or folder/);
  await refused("memory", { "memory/readme.txt": "" }, /holds no reference/);
  await refused("memory/a.txt", { "memory/a.txt": "" }, /should be a reference's \.json/);
  await refused("memory/a.json", { "memory/a.json": "[1" }, /memory\/a\.json.*not valid JSON/);
  await refused("memory/a.json", { "memory/a.json": "[]" }, /JSON object/);
  await refused("memory/a.json", { "memory/a.json": '{"file":"a.safetensors"}' }, /a\.safetensors.*no such file/);
  await refused("memory/a.json", { "memory/a.json": "{}", "memory/a.safetensors": "xx" }, /a\.safetensors/);
});

test("a model's own files beside its references are left out", async () => {
  const rng = readFileSync("test/fixtures/torch-rng.json", "utf8");
  const { ok, rows } = await onHost("memory", {
    "memory/model_index.json": '{"unet":["diffusers","X"]}',
    "memory/unet/config.json": "{}",
    "memory/torch-rng.json": rng,
  });
  assert.ok(ok);
  assert.ok(rows.every((r) => r.file === "torch-rng.json"));
});

test("the measure: relative, absolute where the reference is zero, infinite for what cannot be compared", () => {
  assert.is(relativeL2([3, 4], [3, 0]), 4 / 3);
  assert.is(relativeL2([3, 4], [0, 0]), 5);
  assert.is(relativeL2([1], [1, 2]), Infinity);
  assert.is(relativeL2([NaN, 1], [1, 1]), Infinity);
});

test.run();
