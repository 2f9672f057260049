/**
 * Files on Node: range reads of files larger than memory, outputs that appear whole or not at all, logs safe line by line.
 * Every failure is a FormatError that names the path.
 */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { closeSync, fdatasyncSync, ftruncateSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { checkRange, type ByteSource } from "../formats/byte-source.ts";
import { FormatError } from "../formats/errors.ts";
import { readJsonFile, readTextFile, type FileSystem } from "../formats/file-system.ts";

/** Node reads at most 2 GiB in one call. */
const MAX_READ = 2 ** 30;

/** The disk. Paths are the operating system's; "/" works on all of them. */
export const nodeFiles: FileSystem = {
  open: openFile,
  async kind(path) {
    try {
      return (await stat(path)).isDirectory() ? "folder" : "file";
    } catch (error) {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
      throw failure(path, "cannot be looked at", error);
    }
  },
  async list(path) {
    try {
      return (await readdir(path, { withFileTypes: true }))
        .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
        .toSorted();
    } catch (error) {
      throw failure(path, "cannot be listed", error);
    }
  },
};

/** Opens a file for reading by ranges. @throws FormatError if it is missing, unreadable or a folder. */
export async function openFile(path: string): Promise<ByteSource> {
  try {
    const handle = await open(path, "r");
    const status = await handle.stat();
    if (!status.isFile()) {
      await handle.close();
      throw new FormatError(path, `is ${status.isDirectory() ? "a folder" : "a device or pipe"}, not a file`);
    }
    let closed = false;
    const source: ByteSource = {
      name: path,
      size: status.size,
      async read(offset, length) {
        checkRange(source, offset, length);
        const bytes = new Uint8Array(length);
        for (let done = 0; done < length; ) {
          const { bytesRead } = await handle.read(bytes, done, Math.min(MAX_READ, length - done), offset + done).catch((error: unknown) => {
            throw failure(path, "cannot be read", error);
          });
          if (bytesRead === 0) throw new FormatError(path, `became shorter while it was read: nothing at byte ${offset + done}`);
          done += bytesRead;
        }
        return bytes;
      },
      async close() {
        if (closed) return;
        closed = true;
        await handle.close();
      },
    };
    return source;
  } catch (error) {
    throw failure(path, "cannot be opened", error);
  }
}

/** UTF-8 text. @throws FormatError */
export function readText(path: string): Promise<string> {
  return readTextFile(nodeFiles, path);
}

/** A JSON value. @throws FormatError */
export function readJson(path: string): Promise<unknown> {
  return readJsonFile(nodeFiles, path);
}

/** All bytes of a file. @throws FormatError */
export async function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await openFile(path);
  try {
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

/**
 * Makes a folder and those above it; one that is there already, or that another process makes meanwhile, is fine. @throws FormatError
 */
export async function makeFolder(path: string): Promise<void> {
  // Not mkdir's own recursion, which never ends below /proc.
  const failed = await mkdirFailure(path);
  if (!failed) return;
  const parent = dirname(path);
  if (failed.code !== "ENOENT" || parent === path) throw failure(path, "cannot be made a folder", failed);
  await makeFolder(parent);
  const again = await mkdirFailure(path);
  if (again) throw failure(path, "cannot be made a folder", again);
}

/** What keeps a folder from being made; undefined if it is there. */
async function mkdirFailure(path: string): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(path);
    return undefined;
  } catch (error) {
    const failed = error as NodeJS.ErrnoException;
    return failed.code === "EEXIST" && (await nodeFiles.kind(path)) === "folder" ? undefined : failed;
  }
}

/**
 * Writes a file, making its folder if need be, so that its name only ever shows the old content or all of the new: to a temporary name in
 * the same folder, flushed to the disk, then renamed. A text is written as UTF-8; pieces one after the other. @throws FormatError, with
 * nothing left behind.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
  await makeFolder(dirname(path));
  try {
    const handle = await open(temporary, "wx");
    try {
      if (typeof content === "string" || content instanceof Uint8Array) await handle.writeFile(content);
      else for await (const piece of content) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw failure(path, "cannot be written", error);
  }
}

/** A log. Each line is on the disk when `write` returns, so a crash or a lost device costs nothing that was written. */
export interface LineWriter {
  /** @param line with or without its newline; it must hold no other. @throws FormatError */
  write(line: string): void;
  close(): void;
}

/** Opens a log to go on after the complete lines it has; what a crash left of a torn last line is cut off. @throws FormatError */
export function openLineWriter(path: string): LineWriter {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "a+");
    ftruncateSync(descriptor, endOfLastLine(descriptor));
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    throw failure(path, "cannot be written", error);
  }
  return {
    write(line) {
      try {
        if (descriptor === undefined) throw new Error("the log is closed");
        const bytes = new TextEncoder().encode(line.endsWith("\n") ? line : `${line}\n`);
        for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
        fdatasyncSync(descriptor);
      } catch (error) {
        throw failure(path, "cannot be written", error);
      }
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

/** The offset just after the last newline, searching backwards; 0 if there is none. */
function endOfLastLine(descriptor: number): number {
  const block = new Uint8Array(65536);
  for (let end = fstatSync(descriptor).size; end > 0; ) {
    const start = Math.max(0, end - block.length);
    const got = readSync(descriptor, block, 0, end - start, start);
    const newline = block.subarray(0, got).lastIndexOf(10);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}

/** SHA-256 of a file as hexadecimal digits, read in pieces. @throws FormatError */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Uint8Array);
  } catch (error) {
    throw failure(path, "cannot be read", error);
  }
  return hash.digest("hex");
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EPERM: "not permitted",
  ENOTDIR: "a part of the path is not a folder",
  EISDIR: "it is a folder",
  EEXIST: "there is something of that name already",
  ENOSPC: "the disk is full",
  EROFS: "the disk is read-only",
  EMFILE: "too many open files",
};

/** The operating system's code of a failure, such as ENOSPC; empty if there is none. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "";
}

function failure(path: string, what: string, error: unknown): FormatError {
  if (error instanceof FormatError) return error;
  return new FormatError(path, `${what}: ${REASONS[codeOf(error)] ?? (error instanceof Error ? error.message : String(error))}`, {
    cause: error,
  });
}
