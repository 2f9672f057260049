import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Sha256, sha256Blob } from "../../web/worker/files/sha256.ts";

const node = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

test("the same digests as Node's, for every length around a block and every split", () => {
  for (let length = 0; length < 200; length++) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 255);
    assert.is(new Sha256().update(data).digest(), node(data), `${length} bytes`);
    const at = (length * 7) % (length + 1);
    assert.is(new Sha256().update(data.subarray(0, at)).update(data.subarray(at)).digest(), node(data), `${length} bytes split at ${at}`);
  }
});

test("a blob in pieces, with its progress", async () => {
  const data = Uint8Array.from({ length: 3_000_001 }, (_, i) => (i * i) >>> 3);
  let last = 0;
  assert.is(await sha256Blob(new Blob([data]), (done) => (last = done)), node(data));
  assert.is(last, data.length);
});

test.run();
