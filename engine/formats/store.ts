import { bytesSource, type ByteSource } from "./byte-source.ts";
import { joined } from "./zip/bytes.ts";

/** A file's bytes, its text, or its bytes piece by piece. */
export type Content = Uint8Array<ArrayBuffer> | string | AsyncIterable<Uint8Array<ArrayBuffer>>;

/** Where files can be kept: a folder, or a browser's private file system. Names are paths below it, with "/". */
export interface Store {
  /** What a file is called in messages. */
  nameOf(name: string): string;
  /** A file's bytes; undefined if there is none. @throws FormatError */
  read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** A file to be read by ranges; undefined if there is none. @throws FormatError */
  open(name: string): Promise<ByteSource | undefined>;
  /** Writes a file, whole or not at all. @throws FormatError, or what a browser throws where there is no room */
  write(name: string, content: Content): Promise<void>;
  /**
   * Opens a text file to go on after the complete lines it has. Every line is kept as soon as it is written, whatever happens after.
   * @throws FormatError
   */
  openLines(name: string): Promise<Lines>;
  /** Removes a file, if there is one. */
  remove(name: string): Promise<void>;
}

/** A text file that grows line by line. */
export interface Lines {
  /** @param line with or without its newline; it must hold no other. @throws FormatError */
  write(line: string): void | Promise<void>;
  close(): void;
}

/** Pieces as one array. */
export async function joinPieces(pieces: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  const list: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of pieces) list.push(piece);
  return joined(list);
}

/** Files in memory, which end with the program. */
export function memoryStore(): Store {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const bytesOf = async (content: Content): Promise<Uint8Array<ArrayBuffer>> =>
    typeof content === "string" ? new TextEncoder().encode(content) : content instanceof Uint8Array ? content : joinPieces(content);
  return {
    nameOf: (name) => name,
    read: (name) => Promise.resolve(files.get(name)),
    open(name) {
      const bytes = files.get(name);
      return Promise.resolve(bytes && bytesSource(name, bytes));
    },
    write: async (name, content) => void files.set(name, await bytesOf(content)),
    openLines(name) {
      const lines: string[] = [];
      const before = new TextDecoder().decode(files.get(name) ?? new Uint8Array());
      return Promise.resolve({
        write: (line) => void lines.push(line.endsWith("\n") ? line : `${line}\n`),
        close: () => void files.set(name, new TextEncoder().encode(before.slice(0, before.lastIndexOf("\n") + 1) + lines.join(""))),
      });
    },
    remove: (name) => Promise.resolve(void files.delete(name)),
  };
}
