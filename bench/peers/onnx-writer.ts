/** Writes small ONNX models: the few messages of onnx.proto that a model of some nodes needs, in Protocol Buffers' wire format. */

const DOMAINS = { "": 21, "com.microsoft": 1 } as const;
const IR_VERSION = 10;
const FLOAT = 1;
const INT64 = 7;

export type OnnxAttribute = number | readonly number[] | { readonly float: number };

export interface OnnxNode {
  readonly op: string;
  /** Of onnxruntime's own operators: "com.microsoft". */
  readonly domain?: keyof typeof DOMAINS;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Numbers are integers unless wrapped. */
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxModel {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly outputs: Readonly<Record<string, readonly number[]>>;
  /** f32 constants, or int64 where the data are plain numbers (shapes). */
  readonly constants?: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Float32Array | readonly number[] }>>;
}

/** A message under construction: fields in the order they are added. */
class Message {
  private readonly parts: Uint8Array[] = [];

  /** An unsigned or (as int64) negative whole number. */
  int(field: number, value: number): this {
    this.parts.push(varint(field * 8), varint(value));
    return this;
  }

  float(field: number, value: number): this {
    this.parts.push(varint(field * 8 + 5), new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.parts.push(varint(field * 8 + 2), varint(value.length), value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    const out = new Uint8Array(this.parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return Uint8Array.of(...bytes, Number(rest));
}

/** The bytes of a model file. */
export function writeOnnx({ nodes, inputs, outputs, constants = {} }: OnnxModel): Uint8Array {
  const graph = new Message();
  for (const node of nodes) graph.message(1, nodeProto(node));
  graph.text(2, "bench");
  for (const [name, { shape, data }] of Object.entries(constants)) graph.message(5, tensorProto(name, shape, data));
  for (const [name, shape] of Object.entries(inputs)) graph.message(11, valueInfo(name, shape));
  for (const [name, shape] of Object.entries(outputs)) graph.message(12, valueInfo(name, shape));
  const model = new Message().int(1, IR_VERSION).text(2, "lethe-bench").message(7, graph);
  for (const [domain, version] of Object.entries(DOMAINS)) model.message(8, new Message().text(1, domain).int(2, version));
  return model.finish();
}

function nodeProto({ op, domain = "", inputs, outputs, attributes = {} }: OnnxNode): Message {
  const node = new Message();
  for (const name of inputs) node.text(1, name);
  for (const name of outputs) node.text(2, name);
  node.text(4, op);
  for (const [name, value] of Object.entries(attributes)) {
    const attribute = new Message().text(1, name);
    // The last field says which of the others holds the value: 1 float, 2 int, 7 ints.
    if (typeof value === "number") attribute.int(3, value).int(20, 2);
    else if ("float" in value) attribute.float(2, value.float).int(20, 1);
    else {
      for (const i of value) attribute.int(8, i);
      attribute.int(20, 7);
    }
    node.message(5, attribute);
  }
  return node.text(7, domain);
}

function tensorProto(name: string, shape: readonly number[], data: Float32Array | readonly number[]): Message {
  const tensor = new Message();
  for (const d of shape) tensor.int(1, d);
  const raw = data instanceof Float32Array ? data : BigInt64Array.from(data, BigInt);
  return tensor
    .int(2, data instanceof Float32Array ? FLOAT : INT64)
    .text(8, name)
    .bytes(9, new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength));
}

function valueInfo(name: string, shape: readonly number[]): Message {
  const dimensions = new Message();
  for (const d of shape) dimensions.message(1, new Message().int(1, d));
  return new Message().text(1, name).message(2, new Message().message(1, new Message().int(1, FLOAT).message(2, dimensions)));
}
