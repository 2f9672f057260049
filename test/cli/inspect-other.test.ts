/** inspect on what judges read: an ONNX file, and prompts in a pickle. */
import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { folder, lethe } from "./support.ts";

const JUDGES = "test/fixtures/judges";

test("an ONNX model and a pickled NumPy array", async () => {
  const names = readdirSync(JUDGES, { recursive: true }).map(String);
  const [onnx, pickle] = [names.find((name) => name.endsWith(".onnx"))!, names.find((name) => name.endsWith(".p"))!];
  copyFileSync(join(JUDGES, onnx), join(folder, "model.onnx"));
  copyFileSync(join(JUDGES, pickle), join(folder, "prompts.p"));
  const model = await lethe("inspect", "model.onnx");
  assert.is(model.code, 0, model.stderr);
  assert.match(model.stdout, /^looks like: an ONNX model, as --judge nudenet reads it\n\d+ tensors \(\d+ F32/);
  const prompts = await lethe("inspect", "prompts.p", "--json");
  assert.is(prompts.code, 0, prompts.stderr);
  const json = JSON.parse(prompts.stdout) as { kind: string; shape: number[] };
  assert.equal([json.kind, json.shape.length, json.shape[0]], ["numpy pickle", 2, 2]);
});

test.run();
