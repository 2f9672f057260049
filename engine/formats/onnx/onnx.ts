/**
 * The weights of an ONNX file: its graph's initializers by name, and the model's metadata. The graph itself is not interpreted; a model
 * that knows its own architecture takes the weights from here. Source: onnx.proto (ModelProto, GraphProto, TensorProto,
 * StringStringEntryProto).
 */
import { readAll, type ByteSource } from "../byte-source.ts";
import { DTYPE_BYTES, elementCount, type FileDType } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import { type ProtobufField, ProtobufReader, WIRE } from "./protobuf.ts";
import { tensorFile, type TensorEntry, type TensorFile } from "../tensor-file.ts";

/** TensorProto.DataType, those this project has a name for. */
const DATA_TYPES: ReadonlyMap<number, FileDType> = new Map<number, FileDType>([
  [1, "F32"],
  [2, "U8"],
  [3, "I8"],
  [4, "U16"],
  [5, "I16"],
  [6, "I32"],
  [7, "I64"],
  [9, "BOOL"],
  [10, "F16"],
  [11, "F64"],
  [12, "U32"],
  [13, "U64"],
  [16, "BF16"],
]);

/** Fields that hold numbers in another form than raw bytes; only floats are written so in practice. */
const TYPED_DATA: ReadonlyMap<number, string> = new Map([
  [5, "int32_data"],
  [6, "string_data"],
  [7, "int64_data"],
  [10, "double_data"],
  [11, "uint64_data"],
]);

const MAX_DIMENSIONS = 16;

interface Range {
  readonly start: number;
  readonly end: number;
}

interface Initializer {
  readonly entry: TensorEntry;
  /** Little-endian elements, one range after the other. */
  readonly data: readonly Range[];
}

/**
 * Reads an ONNX model of at most 1 GiB into memory once; tensors are copied out of it when asked for.
 * @throws FormatError for a file that is no ONNX model, a damaged one, weights kept in other files, or a tensor whose numbers do not fill
 * its shape.
 */
export async function openOnnx(source: ByteSource): Promise<TensorFile> {
  const file = source.name;
  const bytes = await readAll(source, 2 ** 30);
  const model = new ProtobufReader(file, bytes, "ONNX model");
  const metadata: [string, string][] = [];
  let graph: ProtobufReader | undefined;
  for (let field = model.next(); field; field = model.next()) {
    if (field.number === 14) metadata.push(readProperty(model.message(field, "metadata property")));
    if (field.number !== 7) continue;
    if (graph) throw new FormatError(file, "holds two graphs; an ONNX model has one");
    graph = model.message(field, "graph");
  }
  if (!graph) throw new FormatError(file, "holds no graph, so it is not an ONNX model");
  const initializers = readGraph(file, graph);
  if (initializers.size === 0) throw new FormatError(file, "its graph holds no weights");
  const entries = new Map([...initializers].map(([name, { entry }]) => [name, entry]));
  const readBytes = (entry: TensorEntry): Promise<Uint8Array<ArrayBuffer>> => {
    const out = new Uint8Array(entry.byteLength);
    let at = 0;
    for (const { start, end } of initializers.get(entry.name)!.data) {
      out.set(bytes.subarray(start, end), at);
      at += end - start;
    }
    return Promise.resolve(out);
  };
  return tensorFile({ name: file, metadata: Object.fromEntries(metadata), entries, readBytes, close: () => source.close() });
}

function readProperty(property: ProtobufReader): [string, string] {
  let [key, value] = ["", ""];
  for (let field = property.next(); field; field = property.next()) {
    if (field.number === 1) key = property.text(field);
    else if (field.number === 2) value = property.text(field, 2 ** 16);
  }
  return [key, value];
}

function readGraph(file: string, graph: ProtobufReader): Map<string, Initializer> {
  const initializers = new Map<string, Initializer>();
  for (let field = graph.next(); field; field = graph.next()) {
    if (field.number !== 5) continue;
    const made = readTensor(file, graph.message(field, "initializer"));
    if (initializers.has(made.entry.name)) throw new FormatError(file, `two initializers are named ${quote(made.entry.name)}`);
    initializers.set(made.entry.name, made);
  }
  return initializers;
}

function readTensor(file: string, tensor: ProtobufReader): Initializer {
  const shape: number[] = [];
  const raw: Range[] = [];
  const floats: ProtobufField[] = [];
  let [name, type, typed, external] = ["", 0, "", false];
  for (let field = tensor.next(); field; field = tensor.next()) {
    switch (field.number) {
      case 1: shape.push(...tensor.integers(field, MAX_DIMENSIONS)); break;
      case 2: type = tensor.integer(field); break;
      case 4: floats.push(field); break;
      case 8: name = tensor.text(field); break;
      case 9: raw.push(tensor.range(field)); break;
      case 14: external = tensor.integer(field) !== 0; break;
      default: typed ||= TYPED_DATA.get(field.number) ?? "";
    }
    if (shape.length > MAX_DIMENSIONS) throw new FormatError(file, `tensor ${quote(name)} has more than ${MAX_DIMENSIONS} dimensions`);
  }
  const where = `tensor ${quote(name)}`;
  const dtype = DATA_TYPES.get(type);
  const count = elementCount(shape);
  if (name === "") throw new FormatError(file, "an initializer has no name");
  if (external) throw new FormatError(file, `${where} keeps its numbers in another file; save the model as one file`);
  if (!dtype) throw new FormatError(file, `${where} has element type ${type}, which is not supported`);
  if (count === undefined) throw new FormatError(file, `${where} has shape [${shape.join(", ")}]`);
  const byteLength = count * DTYPE_BYTES[dtype];
  if (floats.length > 0 && dtype !== "F32") throw new FormatError(file, `${where} keeps numbers of type ${dtype} in float_data`);
  if (floats.some((f) => f.wire !== WIRE.length && f.wire !== WIRE.fixed32)) {
    throw new FormatError(file, `${where} has malformed float_data`);
  }
  const data = raw.length > 0 ? raw.slice(-1) : floats; // of a repeated bytes field the last one counts
  const stored = data.reduce((n, { start, end }) => n + end - start, 0);
  if (stored !== byteLength) {
    const instead =
      typed && stored === 0
        ? `keeps its numbers in ${typed}, which is not supported; save it with raw data`
        : `of shape [${shape.join(", ")}] and type ${dtype} needs ${byteLength} bytes, but has ${stored}`;
    throw new FormatError(file, `${where} ${instead}`);
  }
  return { entry: { name, dtype, shape, byteLength }, data };
}
