/** What the page keeps in this browser: files in the origin's private file system (OPFS), or in memory where a browser offers none. */

import { FormatError } from "../../../engine/formats/errors.ts";

/** A flat folder of named files. */
export interface Store {
  /** Whether files outlive the page. */
  readonly lasting: boolean;
  /** The file, read only as far as it is asked for; undefined if there is none. */
  read(name: string): Promise<Blob | undefined>;
  /** Writes a file whole or not at all. @throws what the browser throws, e.g. QuotaExceededError */
  write(name: string, content: Uint8Array<ArrayBuffer> | string): Promise<void>;
  /**
   * A file to be written at its end, piece by piece; what has been written stays, whatever happens after.
   * @throws FormatError if another tab writes it
   */
  append(name: string): Promise<Appender>;
  remove(name: string): Promise<void>;
  names(): Promise<string[]>;
}

/** A file open for writing at its end. */
export interface Appender {
  /** Bytes that are there. */
  readonly size: number;
  /** @throws QuotaExceededError if there is no room; what fitted has been written */
  write(piece: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Empties the file. */
  restart(): void;
  close(): void;
}

/** Folders of a store that hold a file of this name. */
export async function foldersWith(store: Store, file: string): Promise<string[]> {
  return (await store.names()).filter((name) => name.endsWith(`/${file}`)).map((name) => name.slice(0, -file.length - 1));
}

/** A folder of the page's by name. Names of files may be any text. */
export async function openStore(folder: string): Promise<Store> {
  try {
    const root = await navigator.storage.getDirectory();
    const lethe = await root.getDirectoryHandle("lethe", { create: true });
    return opfsStore(await lethe.getDirectoryHandle(folder, { create: true }));
  } catch (error) {
    console.warn(`no private file system (${String(error)}): what is loaded is kept until the page is closed`);
    return memoryStore();
  }
}

function opfsStore(folder: FileSystemDirectoryHandle): Store {
  const store: Store = {
    lasting: true,
    async read(name) {
      try {
        return await (await folder.getFileHandle(encodeURIComponent(name))).getFile();
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    async write(name, content) {
      const handle = await folder.getFileHandle(encodeURIComponent(name), { create: true });
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      if (!("createWritable" in FileSystemFileHandle.prototype)) return writeInPlace(name, handle, bytes); // Safari before 26
      // Writes beside the file and takes its place at the end.
      const stream = await handle.createWritable();
      try {
        await stream.write(bytes);
        await stream.close();
      } catch (error) {
        await stream.abort().catch(() => undefined);
        throw error;
      }
    },
    append: async (name) => appender(name, await folder.getFileHandle(encodeURIComponent(name), { create: true })),
    async remove(name) {
      await folder.removeEntry(encodeURIComponent(name)).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
    },
    async names() {
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(decodeURIComponent(name));
      return names.toSorted();
    },
  };
  return store;
}

/** A file as Workers alone see it; TypeScript's types are the page's. */
interface SyncHandle extends FileSystemFileHandle {
  createSyncAccessHandle(): Promise<{
    getSize(): number;
    truncate(size: number): void;
    write(data: Uint8Array, options: { readonly at: number }): number;
    flush(): void;
    close(): void;
  }>;
}

/** Writes in place, which Workers may: a checkpoint of gigabytes would be copied at every opening by the other way of writing. */
async function appender(name: string, handle: FileSystemFileHandle): Promise<Appender> {
  const access = await (handle as SyncHandle).createSyncAccessHandle().catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "NoModificationAllowedError") {
      throw new FormatError(name, "is being written by another tab of this page: wait for it, or cancel it there", { cause: error });
    }
    throw error;
  });
  let size = access.getSize();
  return {
    get size() {
      return size;
    },
    write(piece) {
      const written = access.write(piece, { at: size });
      size += written;
      return written === piece.length
        ? Promise.resolve()
        : Promise.reject(new DOMException(`${name}: ${written} of ${piece.length} bytes found room`, "QuotaExceededError"));
    },
    restart() {
      access.truncate((size = 0));
    },
    close() {
      access.flush();
      access.close();
    },
  };
}

async function writeInPlace(name: string, handle: FileSystemFileHandle, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const file = await appender(name, handle);
  try {
    file.restart();
    await file.write(bytes);
  } finally {
    file.close();
  }
}

/** Files in memory. */
export function memoryStore(): Store {
  const files = new Map<string, Blob>();
  return {
    lasting: false,
    read: (name) => Promise.resolve(files.get(name)),
    write: (name, content) => Promise.resolve(void files.set(name, new Blob([content]))),
    append(name) {
      let file = files.get(name) ?? new Blob([]);
      const set = (blob: Blob): void => void files.set(name, (file = blob));
      return Promise.resolve({
        get size() {
          return file.size;
        },
        write: (piece: Uint8Array<ArrayBuffer>) => Promise.resolve(set(new Blob([file, piece]))),
        restart: () => set(new Blob([])),
        close: () => undefined,
      });
    },
    remove: (name) => Promise.resolve(void files.delete(name)),
    names: () => Promise.resolve([...files.keys()].toSorted()),
  };
}

function isNotFound(error: unknown): boolean {
  return error instanceof DOMException && error.name === "NotFoundError";
}
