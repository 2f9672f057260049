import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { toFloat32, toFloat64 } from "../../engine/formats/dtype.ts";
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from "../../engine/formats/half.ts";
import { expected } from "./support.ts";

function sha256(view: ArrayBufferView): string {
  return createHash("sha256").update(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)).digest("hex");
}

test("all 65,536 halves widen as NumPy does", () => {
  const wide = float16ToFloat32(Uint16Array.from({ length: 65536 }, (_, i) => i));
  assert.is(sha256(wide.map((value) => (Number.isNaN(value) ? 12345 : value))), expected.half_to_float);
});

test("400,000 spread float32 bit patterns, and 400,000 near the subnormal halves, narrow as NumPy does", () => {
  const words = Uint32Array.from({ length: 400_000 }, (_, i) => Math.imul(i, 2654435761));
  const narrow = float32ToFloat16(new Float32Array(words.buffer));
  const nanAs5 = narrow.map((bits) => ((bits & 0x7fff) > 0x7c00 ? 0x4500 : bits));
  assert.is(sha256(nanAs5), expected.float_to_half);
  assert.is(sha256(float32ToFloat16(Float32Array.from({ length: 400_000 }, (_, i) => i * 2 ** -26))), expected.small_float_to_half);
});

test("every half survives the way to float32 and back, NaN stays NaN", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const back = float32ToFloat16(float16ToFloat32(all));
  for (let i = 0; i < 65536; i++) {
    assert.ok(
      back[i] === i || ((i & 0x7fff) > 0x7c00 && (back[i]! & 0x7fff) > 0x7c00),
      `0x${i.toString(16)} became 0x${back[i]!.toString(16)}`,
    );
  }
  assert.equal(
    [...float32ToFloat16(new Float32Array([65519, 65520, -1e10, 2 ** -25, 2 ** -25 * 1.0001, NaN]))].map((bits) => bits.toString(16)),
    ["7bff", "7c00", "fc00", "0", "1", "7e00"],
  );
});

test("bfloat16 is the upper half of a float32", () => {
  const values = new Float32Array([0, -0, 1, -3.140625, Infinity, -Infinity, 2 ** -126, 2 ** -130]);
  const upper = Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16);
  assert.equal([...bfloat16ToFloat32(upper)], [...values]);
  assert.ok(Number.isNaN(bfloat16ToFloat32(Uint16Array.of(0x7fc0))[0]));
});

test("unaligned bytes, and integers beyond int32", () => {
  const bytes = new Uint8Array(17);
  new DataView(bytes.buffer).setBigUint64(1, 2n ** 63n, true);
  new DataView(bytes.buffer).setBigInt64(9, -3n, true);
  assert.equal([...toFloat64("U64", bytes.subarray(1, 9))!], [2 ** 63]);
  assert.equal([...toFloat32("I64", bytes.subarray(1))!], [-(2 ** 63), -3]);
  assert.equal([...toFloat32("U32", Uint8Array.of(255, 255, 255, 255))!], [2 ** 32]);
  assert.equal([...toFloat64("U16", Uint8Array.of(0, 255, 255).subarray(1))!], [65535]);
});

test.run();
