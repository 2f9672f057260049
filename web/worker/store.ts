/** What the page keeps in this browser: files in the origin's private file system (OPFS), or in memory where a browser offers none. */

/** A flat folder of named files. */
export interface Store {
  /** Whether files outlive the page. */
  readonly lasting: boolean;
  /** The file, read only as far as it is asked for; undefined if there is none. */
  read(name: string): Promise<Blob | undefined>;
  /** Writes a file whole or not at all. @throws what the browser throws, e.g. QuotaExceededError */
  write(name: string, content: Uint8Array<ArrayBuffer> | string): Promise<void>;
  /** A file written piece by piece; it is there after `close` and not before. */
  writer(name: string): Promise<StoreWriter>;
  remove(name: string): Promise<void>;
  names(): Promise<string[]>;
}

export interface StoreWriter {
  write(piece: Uint8Array<ArrayBuffer>): Promise<void>;
  close(): Promise<void>;
  abort(): Promise<void>;
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
      const writer = await store.writer(name);
      try {
        await writer.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
        await writer.close();
      } catch (error) {
        await writer.abort();
        throw error;
      }
    },
    async writer(name) {
      const handle = await folder.getFileHandle(encodeURIComponent(name), { create: true });
      return "createWritable" in FileSystemFileHandle.prototype ? streamWriter(handle) : syncWriter(folder, handle as SyncHandle);
    },
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

/** Writes beside the file and takes its place at the end. */
async function streamWriter(handle: FileSystemFileHandle): Promise<StoreWriter> {
  const stream = await handle.createWritable();
  return { write: (piece) => stream.write(piece), close: () => stream.close(), abort: () => stream.abort().catch(() => undefined) };
}

/** A file as Workers alone see it; TypeScript's types are the page's. */
interface SyncHandle extends FileSystemFileHandle {
  createSyncAccessHandle(): Promise<{ truncate(size: number): void; write(data: Uint8Array, options: { readonly at: number }): number; flush(): void; close(): void }>;
}

/** For browsers without the above (Safari before 26): a Worker may write in place. */
async function syncWriter(folder: FileSystemDirectoryHandle, handle: SyncHandle): Promise<StoreWriter> {
  const access = await handle.createSyncAccessHandle();
  access.truncate(0);
  let at = 0;
  const close = (): Promise<void> => {
    access.flush();
    access.close();
    return Promise.resolve();
  };
  return {
    write(piece) {
      at += access.write(piece, { at });
      return Promise.resolve();
    },
    close,
    async abort() {
      access.close();
      await folder.removeEntry(handle.name).catch(() => undefined); // an unfinished file is of no use to anybody
    },
  };
}

function memoryStore(): Store {
  const files = new Map<string, Blob>();
  return {
    lasting: false,
    read: (name) => Promise.resolve(files.get(name)),
    write: (name, content) => Promise.resolve(void files.set(name, new Blob([content]))),
    writer(name) {
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      return Promise.resolve({
        write: (piece: Uint8Array<ArrayBuffer>) => Promise.resolve(void pieces.push(piece)),
        close: () => Promise.resolve(void files.set(name, new Blob(pieces))),
        abort: () => Promise.resolve(),
      });
    },
    remove: (name) => Promise.resolve(void files.delete(name)),
    names: () => Promise.resolve([...files.keys()].toSorted()),
  };
}

function isNotFound(error: unknown): boolean {
  return error instanceof DOMException && error.name === "NotFoundError";
}
