import { test } from "uvu";
import * as assert from "uvu/assert";
import { toOihw } from "../../bench/peers/jax.ts";
import { writeOnnx } from "../../bench/peers/onnx-writer.ts";
import { openOnnx } from "../../engine/formats/onnx/onnx.ts";
import { ProtobufReader, WIRE } from "../../engine/formats/onnx/protobuf.ts";
import { source } from "../formats/support.ts";

const MODEL = {
  inputs: { x: [2, 300] },
  outputs: { y: [2, 300] },
  constants: { weight: { shape: [2, 2], data: Float32Array.of(1, -2, 3.5, 4) }, shape: { shape: [2], data: [1, -1] } },
  nodes: [{ op: "Softmax", inputs: ["x"], outputs: ["y"], attributes: { axis: -1, epsilon: { float: 0.5 }, perm: [0, 2, 1] } }],
} as const;

test("constants come back from a written model", async () => {
  const file = await openOnnx(source(writeOnnx(MODEL)));
  assert.equal(file.entries.get("weight")!.shape, [2, 2]);
  assert.equal([...(await file.readFloat32("weight"))], [1, -2, 3.5, 4]);
});

/** Fields of a message as [number, bytes]. */
function fields(bytes: Uint8Array<ArrayBuffer>): [number, Uint8Array<ArrayBuffer>][] {
  const reader = new ProtobufReader("model", bytes, "message");
  const out: [number, Uint8Array<ArrayBuffer>][] = [];
  for (let f = reader.next(); f; f = reader.next()) {
    assert.ok(Object.values<number>(WIRE).includes(f.wire));
    out.push([f.number, bytes.slice(f.start, f.end)]);
  }
  return out;
}

test("a node's attributes are typed as onnx.proto numbers them", () => {
  const graph = fields(new Uint8Array(writeOnnx(MODEL))).find(([n]) => n === 7)![1];
  const node = fields(graph).find(([n]) => n === 1)![1];
  const text = (b: Uint8Array): string => new TextDecoder().decode(b);
  const attributes = fields(node).filter(([n]) => n === 5).map(([, a]) => fields(a));
  const kind = (name: string): number => attributes.find((a) => text(a[0]![1]) === name)!.find(([n]) => n === 20)![1][0]!;
  assert.equal(["axis", "epsilon", "perm"].map(kind), [2, 1, 7]);
  // -1 as a ten-byte varint, 0.5 as four bytes.
  assert.is(attributes[0]!.find(([n]) => n === 3)![1].length, 10);
  assert.equal([...attributes[1]!.find(([n]) => n === 2)![1]], [0, 0, 0, 63]);
  assert.is(text(fields(node).find(([n]) => n === 4)![1]), "Softmax");
});

test("convolution weights to [out, in, kh, kw]", () => {
  // [1, 2, 2 in, 3 out], numbered in order.
  const ours = Float32Array.from({ length: 12 }, (_, i) => i);
  assert.equal([...toOihw(ours, [1, 2, 2, 3])], [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11]);
});

test.run();
