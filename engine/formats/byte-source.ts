/**
 * Random access to the bytes of one file, wherever it lies: memory, a dropped file, or a disk.
 * Readers ask for ranges, so a checkpoint may be larger than memory.
 */
import { FormatError, reason } from "./errors.ts";

export interface ByteSource {
  /** As the user knows it; used in every error. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`, in an array that the caller owns.
   * @throws FormatError if the range reaches beyond the end or the bytes cannot be read.
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Gives the file back. Reading afterwards is an error. Closing twice is not. */
  close(): Promise<void>;
}

/** @throws FormatError if `[offset, offset + length)` is not a range of whole bytes inside the source. */
export function checkRange(source: { readonly name: string; readonly size: number }, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > source.size) {
    throw new FormatError(
      source.name,
      `ends too early: bytes ${offset} to ${offset + length} are wanted, but the file has ${source.size}; it is truncated or corrupt, ` +
        "fetch it again",
    );
  }
}

/** A source over bytes in memory. `bytes` is not copied until a range is read. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  const source = {
    name,
    size: bytes.byteLength,
    read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
      try {
        checkRange(source, offset, length);
        return Promise.resolve(new Uint8Array(bytes.subarray(offset, offset + length)));
      } catch (error) {
        return Promise.reject(error);
      }
    },
    close: () => Promise.resolve(),
  };
  return source;
}

/** A source over a browser `Blob` or `File` (a dropped file, or one of the origin's private file system). */
export function blobSource(name: string, blob: Blob): ByteSource {
  const source = {
    name,
    size: blob.size,
    async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
      checkRange(source, offset, length);
      let bytes: Uint8Array<ArrayBuffer>;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw new FormatError(name, `cannot be read: ${reason(error)}`, { cause: error });
      }
      if (bytes.length !== length) {
        throw new FormatError(name, `changed while it was read: ${bytes.length} bytes came at offset ${offset} instead of ${length}`);
      }
      return bytes;
    },
    close: () => Promise.resolve(),
  };
  return source;
}

/** Reads a whole source. For small files: configs, images, vocabularies. @throws FormatError above `limit` bytes (default 256 MiB). */
export function readAll(source: ByteSource, limit = 2 ** 28): Promise<Uint8Array<ArrayBuffer>> {
  if (source.size > limit) {
    return Promise.reject(new FormatError(source.name, `has ${source.size} bytes, more than the ${limit} that such a file may have`));
  }
  return source.read(0, source.size);
}
