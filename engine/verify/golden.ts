import { FormatError } from "../formats/errors.ts";
import { type FileSystem, isObject, joinPath, readJsonFile } from "../formats/file-system.ts";
import { openTensorPath } from "../formats/open.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { NDArray } from "../nn/array.ts";

export type Json = Readonly<Record<string, unknown>>;

/** An entry of a JSON's `cases`. */
export type Case = Json & { readonly name: string };

/**
 * One reference file, `NAME.json` with its `NAME.safetensors`. Every tensor that a form reads is marked, so that those it
 * has no check for can be reported instead of being passed over.
 */
export class Golden {
  private readonly used = new Set<string>();

  constructor(readonly path: string, readonly name: string, readonly json: Json, private readonly tensors: TensorFile | undefined) {}

  /** Name of the file, for errors. */
  get source(): string {
    return this.tensors?.name ?? this.path;
  }

  /** The folder it lies in. */
  get folder(): string {
    return this.path.slice(0, Math.max(0, this.path.lastIndexOf("/")));
  }

  has(tensor: string): boolean {
    return this.tensors?.entries.has(tensor) ?? false;
  }

  names(): string[] {
    return [...(this.tensors?.entries.keys() ?? [])];
  }

  /** Tensors that were never read. */
  unused(): string[] {
    return this.names().filter((n) => !this.used.has(n));
  }

  /** Tensors that the JSON lists with their shape and the file does not have; an entry without a shape may speak of several. */
  missing(): string[] {
    const list = this.json["tensors"];
    return isObject(list) ? Object.keys(list).filter((n) => isObject(list[n]) && list[n]["shape"] !== undefined && !this.has(n)) : [];
  }

  /** How rows name the JSON's `cases`: by their name or, without one, their index; none if it has no such list. */
  caseNames(): string[] {
    const list: unknown = this.json["cases"];
    if (!Array.isArray(list)) return [];
    return list
      .flatMap((c: unknown) => (isObject(c) ? [c["name"] ?? c["index"]] : []))
      .flatMap((name) => (name === undefined ? [] : [String(name)]));
  }

  /** Says that a tensor is accounted for without being read. */
  account(...tensors: string[]): void {
    for (const t of tensors) this.used.add(t);
  }

  /** Names of the tensors that begin so, without what they begin with. */
  namesAfter(prefix: string): string[] {
    return this.names().flatMap((n) => (n.startsWith(prefix) ? [n.slice(prefix.length)] : []));
  }

  /** @throws FormatError if there is no such tensor. */
  shape(tensor: string): readonly number[] {
    const entry = this.tensors?.entries.get(tensor);
    if (!entry) throw new FormatError(this.source, `has no tensor "${tensor}"`);
    return entry.shape;
  }

  dtype(tensor: string): string {
    return this.tensors?.entries.get(tensor)?.dtype ?? "none";
  }

  /** A floating-point tensor with its shape. @throws FormatError */
  async array(tensor: string): Promise<NDArray> {
    return { data: await this.floats(tensor), shape: this.shape(tensor) };
  }

  /** @throws FormatError if there is no such tensor, or it is not of floats. */
  async floats(tensor: string): Promise<Float32Array<ArrayBuffer>> {
    this.shape(tensor);
    this.used.add(tensor);
    return this.tensors!.readFloat32(tensor);
  }

  /** A floating-point tensor in float64. @throws FormatError if there is no such tensor. */
  async doubles(tensor: string): Promise<Float64Array<ArrayBuffer>> {
    this.shape(tensor);
    this.used.add(tensor);
    return this.tensors!.readFloat64(tensor);
  }

  /** Token ids as the device takes them. @throws as `ints` */
  async ids(tensor: string): Promise<Uint32Array<ArrayBuffer>> {
    return Uint32Array.from(await this.ints(tensor));
  }

  /** An integer tensor. @throws FormatError if there is no such tensor, or it is of floats. */
  async ints(tensor: string): Promise<Int32Array<ArrayBuffer>> {
    this.shape(tensor);
    this.used.add(tensor);
    return this.tensors!.readInts(tensor);
  }

  /** What the JSON says of a tensor; "" if nothing. */
  describe(tensor: string): string {
    const list = this.json["tensors"];
    const entry = isObject(list) ? list[tensor] : undefined;
    if (typeof entry === "string") return entry;
    return isObject(entry) && typeof entry["is"] === "string" ? entry["is"] : "";
  }

  /** Whether the JSON says that a tensor is mathematically zero, so that only its absolute error means something. */
  isZero(tensor: string): boolean {
    return /mathematically zero/i.test(this.describe(tensor));
  }

  /** The JSON's `cases`, objects with a name. @throws FormatError if it has no such list. */
  get cases(): readonly Case[] {
    const list = this.json["cases"];
    if (!Array.isArray(list)) throw new FormatError(this.path, `has no list of "cases"`);
    return list.map((c: unknown, i) => {
      if (!isObject(c) || typeof c["name"] !== "string") throw new FormatError(this.path, `case ${i} has no "name"`);
      return c as Case;
    });
  }

  /** A field of the JSON, or of an object in it. @throws FormatError unless it is what is expected */
  private field<T>(name: string, from: Json, what: string, is: (value: unknown) => value is T): T {
    const value = from[name];
    if (!is(value)) throw new FormatError(this.path, `"${name}" must be ${what}, got ${JSON.stringify(value) ?? "nothing"}`);
    return value;
  }

  /** @throws FormatError if the JSON's field is not a number. */
  number(field: string, from: Json = this.json): number {
    return this.field(field, from, "a number", (value) => typeof value === "number");
  }

  /** @throws FormatError if the JSON's field is not a text. */
  text(field: string, from: Json = this.json): string {
    return this.field(field, from, "a text", (value) => typeof value === "string");
  }

  /** What a table has for the JSON's text. @throws FormatError that names those which are known */
  choice<T>(field: string, table: Readonly<Record<string, T>>, from: Json = this.json): T {
    const value = this.text(field, from);
    if (Object.hasOwn(table, value)) return table[value]!;
    throw new FormatError(this.path, `"${field}" is ${JSON.stringify(value)}; known are ${Object.keys(table).join(", ")}`);
  }

  /** @throws FormatError if the JSON's field is not an object. */
  object(field: string, from: Json = this.json): Json {
    return this.field(field, from, "an object", isObject);
  }

  /** @throws FormatError if the JSON's field is not a list. */
  list(field: string, from: Json = this.json): readonly unknown[] {
    return this.field(field, from, "a list", (value): value is readonly unknown[] => Array.isArray(value));
  }

  /** @throws FormatError if the JSON's field is not a list of objects. */
  objects(field: string, from: Json = this.json): readonly Json[] {
    return this.list(field, from).map((entry, i) => {
      if (!isObject(entry)) throw new FormatError(this.path, `"${field}" ${i} is not an object`);
      return entry;
    });
  }

  /** @throws FormatError if the JSON's field is not a list of numbers. */
  numbers(field: string, from: Json = this.json): number[] {
    const value = this.list(field, from);
    if (!value.every((v) => typeof v === "number")) throw new FormatError(this.path, `"${field}" must be a list of numbers`);
    return value as number[];
  }

  /** @throws FormatError if the JSON's field is not a list of texts. */
  texts(field: string): string[] {
    const value = this.list(field);
    if (!value.every((x) => typeof x === "string")) throw new FormatError(this.path, `"${field}" must be a list of texts`);
    return value as string[];
  }

  async close(): Promise<void> {
    await this.tensors?.close();
  }
}

/**
 * The reference file at a path, or the paths of all in a folder and below it. Inside a model folder (one with a
 * model_index.json) the index and the folders of its components are the model's own files and are left out; so are the JSON files beside
 * the config.json and weights of a single model.
 * @throws FormatError if there is nothing at the path or nothing to check in the folder.
 */
export async function findGoldens(files: FileSystem, path: string): Promise<string[]> {
  const kind = await files.kind(path);
  if (kind === undefined) throw new FormatError(path, "no such file or folder");
  if (kind === "file") {
    if (!path.endsWith(".json")) throw new FormatError(path, "should be a reference's .json file, or a folder of them");
    return [path];
  }
  const found = await walk(files, path);
  if (found.length === 0) throw new FormatError(path, "holds no reference: a NAME.json with its NAME.safetensors");
  return found;
}

async function walk(files: FileSystem, folder: string): Promise<string[]> {
  const names = await files.list(folder);
  const own = new Set<string>();
  if (names.includes("config.json") && names.some((n) => /^(pytorch_)?model\.(safetensors|bin)$/.test(n))) {
    for (const name of names) if (name.endsWith(".json")) own.add(name);
  }
  if (names.includes("model_index.json")) {
    const index = await readJsonFile(files, joinPath(folder, "model_index.json"));
    own.add("model_index.json");
    for (const component of isObject(index) ? Object.keys(index) : []) own.add(`${component}/`);
  }
  const found: string[] = [];
  for (const name of names) {
    if (own.has(name)) continue;
    if (name.endsWith("/")) found.push(...(await walk(files, joinPath(folder, name.slice(0, -1)))));
    else if (name.endsWith(".json")) found.push(joinPath(folder, name));
  }
  return found;
}

/** Opens a reference. @throws FormatError naming the file if it is not a JSON object or its tensors cannot be read. */
export async function openGolden(files: FileSystem, path: string): Promise<Golden> {
  const json = await readJsonFile(files, path);
  if (!isObject(json)) throw new FormatError(path, "should hold a JSON object");
  const name = path.slice(path.lastIndexOf("/") + 1, -".json".length);
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const tensorFile =
    typeof json["file"] === "string" && !/[/\\]/.test(json["file"]) ? folder + json["file"] : `${folder}${name}.safetensors`;
  const exists = (await files.kind(tensorFile)) === "file";
  if (!exists && typeof json["file"] === "string") throw new FormatError(tensorFile, `no such file, but ${path} names it`);
  return new Golden(path, name, json, exists ? await openTensorPath(files, tensorFile) : undefined);
}

/** Runs `work` with the reference of another name in the same folder. @throws FormatError if there is none */
export async function withNeighbour<T>(
  golden: Golden,
  files: FileSystem,
  name: string,
  work: (other: Golden) => Promise<T>,
): Promise<T> {
  const path = joinPath(golden.folder, `${name}.json`);
  if ((await files.kind(path)) !== "file") {
    throw new FormatError(golden.path, `its inputs are those of ${name}.json, which is not beside it`);
  }
  const other = await openGolden(files, path);
  try {
    return await work(other);
  } finally {
    await other.close();
  }
}
