import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseResult } from "../../bench/results.ts";
import { besideTorch, parseTorch, torchText } from "../../bench/torch.ts";
import { FormatError } from "../../engine/formats/errors.ts";

const FILE = "bench/results/2026-11-28-h100-torch-sd14.json";
const torch = parseTorch(FILE, readFileSync(FILE, "utf8"));
const OURS = "bench/results/2026-11-28-h100-sd14-64-f16.json.gz";
const result = parseResult(OURS, gunzipSync(readFileSync(OURS)).toString());

test("PyTorch's times stand beside the rows of the same work", () => {
  const rows = besideTorch(result, torch);
  assert.equal(rows.map((r) => r.name), ["UNet @64 batch 1", "UNet @64 batch 2", "iteration @64 k=5"]);
  assert.equal(rows[0]!.torch, { f32: 157.45, tf32: 41.729, f16: 26.525 });
  assert.is(rows[1]!.torch["f16 channels_last"], 28);
  assert.equal(rows[2]!.torch, { f32: 217.513, tf32: 92.62, f16: 73.145, "f16 channels_last": 83.078 });
  const text = torchText(rows, torch);
  assert.match(text, /^PyTorch 2\.11\.0\+cu130 on NVIDIA H100/);
  assert.match(text, /iteration @64 k=5 +56\.9 +218 \(3\.82x\)/);
});

test("what was not timed by both is not compared", () => {
  const other = { ...result, rows: result.rows.map((r) => ({ ...r, model: "emoji" })) };
  assert.equal(besideTorch(other, torch), []);
  assert.match(torchText([], torch), /nothing that was measured here/);
});

test("a file of another form is refused by name", () => {
  for (const [text, why] of [
    ["nonsense", /not JSON/],
    ["[1]", /expected a JSON object/],
    ["{}", /holds no time/],
    ['{"unet f16 b1": "fast"}', /"unet f16 b1": expected milliseconds/],
  ] as const) {
    const error = assert.throws(
      () => parseTorch("t.json", text),
      (e: unknown) => e instanceof FormatError && why.test(e.message),
    );
    assert.is(error, undefined);
  }
});

test.run();
