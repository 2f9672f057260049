/**
 * The little of a file system that loading needs, so that one code reads a model folder from a disk, from dropped files,
 * or from the browser's private file system. Paths use "/" and are whatever the implementation takes as its root.
 */
import { blobSource, bytesSource, readAll, type ByteSource } from "./byte-source.ts";
import { FormatError, reason } from "./errors.ts";

export interface FileSystem {
  /** @throws FormatError if there is no such file, or it is a folder or cannot be read. */
  open(path: string): Promise<ByteSource>;
  kind(path: string): Promise<"file" | "folder" | undefined>;
  /** Names in a folder, sorted, folders with a trailing "/". @throws FormatError if there is no such folder. */
  list(path: string): Promise<string[]>;
}

/** `folder/name`, either of which may be empty. */
export function joinPath(folder: string, name: string): string {
  if (folder === "" || name.startsWith("/")) return name;
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

/** All bytes of a small file. @throws FormatError if it is missing, or larger than `readAll` takes. */
export async function readFile(files: FileSystem, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await files.open(path);
  try {
    return await readAll(source);
  } finally {
    await source.close();
  }
}

/** A UTF-8 text file without its byte order mark. @throws FormatError if it is missing or not UTF-8. */
export async function readTextFile(files: FileSystem, path: string): Promise<string> {
  return decodeText(path, await readFile(files, path));
}

/** UTF-8 bytes as text, without a byte order mark. @throws FormatError naming `file` if they are not UTF-8. */
export function decodeText(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new FormatError(file, "is not UTF-8 text", { cause: error });
  }
}

/** A JSON file's value. @throws FormatError if it is missing or not JSON. */
export async function readJsonFile(files: FileSystem, path: string): Promise<unknown> {
  return parseJson(path, await readTextFile(files, path));
}

/** A JSON file that holds an object, as configs do. @throws FormatError if it holds anything else. */
export async function readJsonObject(files: FileSystem, path: string): Promise<Readonly<Record<string, unknown>>> {
  return asObject(path, await readJsonFile(files, path));
}

/** @throws FormatError naming `file` and the parser's position. */
export function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new FormatError(file, `is not valid JSON: ${reason(error)}`, { cause: error });
  }
}

/** `value` if it is a JSON object. @throws FormatError otherwise. */
export function asObject(file: string, value: unknown): Readonly<Record<string, unknown>> {
  if (!isObject(value)) {
    const kind = value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
    throw new FormatError(file, `should hold a JSON object, but holds ${kind}`);
  }
  return value;
}

/** Whether a JSON value is an object (not null, not an array). */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Files in memory or dropped on a page, by path. Folders are implied by the paths. */
export function memoryFiles(contents: Readonly<Record<string, Uint8Array | Blob | string>>): FileSystem {
  const files = new Map(Object.entries(contents).map(([path, content]) => [normalise(path), content]));
  const kind = (path: string): "file" | "folder" | undefined => {
    if (files.has(normalise(path))) return "file";
    const prefix = prefixOf(path);
    return [...files.keys()].some((name) => name.startsWith(prefix)) ? "folder" : undefined;
  };
  return {
    kind: (path) => Promise.resolve(kind(path)),
    async open(path) {
      const content = files.get(normalise(path));
      if (content === undefined) throw new FormatError(path, kind(path) === "folder" ? "is a folder, not a file" : "no such file");
      if (typeof content === "string") return bytesSource(path, new TextEncoder().encode(content));
      return content instanceof Uint8Array ? bytesSource(path, content) : blobSource(path, content);
    },
    async list(path) {
      if (kind(path) !== "folder") throw new FormatError(path, "no such folder");
      const prefix = prefixOf(path);
      const names = [...files.keys()].filter((name) => name.startsWith(prefix)).map((name) => {
        const rest = name.slice(prefix.length);
        const slash = rest.indexOf("/");
        return slash < 0 ? rest : rest.slice(0, slash + 1);
      });
      return [...new Set(names)].toSorted();
    },
  };
}

function prefixOf(folder: string): string {
  return normalise(folder) === "" ? "" : `${normalise(folder)}/`;
}

/** Without "./", doubled and trailing slashes. */
function normalise(path: string): string {
  return path.split("/").filter((part) => part !== "" && part !== ".").join("/");
}
