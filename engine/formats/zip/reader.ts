/**
 * The directory of a zip archive, read by ranges; zip64 included. PyTorch stores its entries uncompressed, so its entries are
 * plain ranges of the file; there a compressed one is refused, which also leaves nothing for a decompression bomb to work with.
 * Source: PKWARE APPNOTE 6.3.9, sections 4.3 to 4.5.
 */
import { checkRange, type ByteSource } from "../byte-source.ts";
import { FormatError, quote } from "../errors.ts";
import { inflate } from "./inflate.ts";

export interface ZipEntry {
  readonly name: string;
  readonly size: number;
  /** Bytes in the archive. */
  readonly packed: number;
  /** 0 is stored, 8 deflated. */
  readonly method: number;
  readonly encrypted: boolean;
  readonly headerOffset: number;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** Far above any real checkpoint's (100 bytes an entry), so that a directory never outweighs what it lists. */
const MAX_DIRECTORY_BYTES = 2 ** 26;

/** Entries by name, in the directory's order. @throws FormatError if the directory is missing, damaged or points outside the file. */
export async function readZipDirectory(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const { count, offset, size, limit } = await findDirectory(source);
  const file = source.name;
  if (size > MAX_DIRECTORY_BYTES) {
    throw new FormatError(file, `zip directory of ${size} bytes is larger than the ${MAX_DIRECTORY_BYTES} allowed`);
  }
  if (offset + size > limit) {
    throw new FormatError(file, `zip directory at bytes ${offset} to ${offset + size} overlaps its own end record at ${limit}`);
  }
  const bytes = await source.read(offset, size);
  const view = new DataView(bytes.buffer);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || view.getUint32(at, true) !== CENTRAL) {
      throw new FormatError(file, `zip directory is damaged: entry ${i} of ${count} is missing`);
    }
    const nameBytes = view.getUint16(at + 28, true);
    const extraBytes = view.getUint16(at + 30, true);
    const next = at + 46 + nameBytes + extraBytes + view.getUint16(at + 32, true);
    if (next > size) throw new FormatError(file, `zip directory is damaged: entry ${i} reaches beyond it`);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameBytes));
    const entry = readEntry(file, name, view, at, at + 46 + nameBytes, extraBytes);
    if (entries.has(name)) throw new FormatError(file, `zip archive holds ${quote(name)} twice`);
    entries.set(name, entry);
    at = next;
  }
  checkLayout(file, [...entries.values()], offset);
  return entries;
}

/** Entries must lie one after the other before the directory: overlapping ones would show the same bytes under two names. */
function checkLayout(file: string, entries: readonly ZipEntry[], end: number): void {
  const ordered = entries.toSorted((a, b) => a.headerOffset - b.headerOffset);
  ordered.forEach((entry, i) => {
    if (entry.method !== 0) return; // its stored size is not its size; it is never read
    const bound = ordered[i + 1]?.headerOffset ?? end;
    if (entry.headerOffset + 30 + entry.size > bound) {
      throw new FormatError(
        file,
        `zip entry ${quote(entry.name)} of ${entry.size} bytes at ${entry.headerOffset} reaches beyond byte ${bound}, where the next ` +
          "part begins; the file is corrupt",
      );
    }
  });
}

function readEntry(file: string, name: string, view: DataView, at: number, extraAt: number, extraBytes: number): ZipEntry {
  let packed = view.getUint32(at + 20, true);
  let size = view.getUint32(at + 24, true);
  let headerOffset = view.getUint32(at + 42, true);
  for (let p = extraAt; p + 4 <= extraAt + extraBytes; ) {
    const id = view.getUint16(p, true);
    const end = p + 4 + view.getUint16(p + 2, true);
    if (end > extraAt + extraBytes) break;
    let q = p + 4;
    if (id === 1) {
      const wide = (): number => {
        if (q + 8 > end) throw new FormatError(file, `zip entry ${quote(name)} lacks its 64-bit sizes`);
        q += 8;
        return toNumber(file, view.getBigUint64(q - 8, true));
      };
      if (size === 0xffffffff) size = wide();
      if (packed === 0xffffffff) packed = wide();
      if (headerOffset === 0xffffffff) headerOffset = wide();
    }
    p = end;
  }
  const method = view.getUint16(at + 10, true);
  if (method === 0 && packed !== size) {
    throw new FormatError(file, `zip entry ${quote(name)} is stored, yet its sizes differ: ${packed} and ${size}`);
  }
  return { name, size, packed, method, headerOffset, encrypted: (view.getUint16(at + 8, true) & 1) !== 0 };
}

/** Where the central directory lies; `limit` is where the records after it begin. */
async function findDirectory(source: ByteSource): Promise<{ count: number; offset: number; size: number; limit: number }> {
  const file = source.name;
  const tailBytes = Math.min(source.size, 22 + 0xffff);
  const tail = await source.read(source.size - tailBytes, tailBytes);
  const view = new DataView(tail.buffer);
  let at = tailBytes - 22;
  while (at >= 0 && !(view.getUint32(at, true) === END && at + 22 + view.getUint16(at + 20, true) === tailBytes)) at--;
  if (at < 0) {
    throw new FormatError(
      file,
      "zip archive has no directory at its end; the file is truncated (an interrupted download?), fetch it again",
    );
  }
  const endAt = source.size - tailBytes + at;
  const small = {
    count: view.getUint16(at + 10, true),
    size: view.getUint32(at + 12, true),
    offset: view.getUint32(at + 16, true),
    limit: endAt,
  };
  if (at < 20 || view.getUint32(at - 20, true) !== END64_LOCATOR) return small;
  const at64 = toNumber(file, view.getBigUint64(at - 12, true));
  checkRange(source, at64, 56);
  const wide = new DataView((await source.read(at64, 56)).buffer);
  if (wide.getUint32(0, true) !== END64) throw new FormatError(file, "zip64 end record is missing");
  return {
    count: toNumber(file, wide.getBigUint64(32, true)),
    size: toNumber(file, wide.getBigUint64(40, true)),
    offset: toNumber(file, wide.getBigUint64(48, true)),
    limit: at64,
  };
}

/** First byte of a stored entry's data. @throws FormatError if it is compressed, encrypted, or its local header disagrees. */
export async function zipDataOffset(source: ByteSource, entry: ZipEntry): Promise<number> {
  if (entry.method !== 0) {
    throw new FormatError(
      source.name,
      `zip entry ${quote(entry.name)} is compressed (method ${entry.method}); PyTorch stores its entries plainly, save the file with ` +
        "torch.save again",
    );
  }
  return packedOffset(source, entry);
}

/**
 * An entry's bytes, unpacked if need be: for archives of a few arrays, whose size the caller has bounded.
 * @throws FormatError if it is encrypted, packed by another method than deflate, or damaged
 */
export async function readZipEntry(source: ByteSource, entry: ZipEntry): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await source.read(await packedOffset(source, entry), entry.packed);
  if (entry.method === 0) return bytes;
  const damaged = (why: string): FormatError => new FormatError(source.name, `zip entry ${quote(entry.name)} ${why}`);
  if (entry.method !== 8) throw damaged(`is compressed by method ${entry.method}; plain and deflated ones can be read`);
  const data = await inflate(source.name, bytes, entry.size, `zip entry ${quote(entry.name)}`, "deflate-raw");
  if (data.length !== entry.size) throw damaged(`unpacks to ${data.length} bytes instead of ${entry.size}; the file is corrupt`);
  return data;
}

async function packedOffset(source: ByteSource, entry: ZipEntry): Promise<number> {
  const file = source.name;
  if (entry.encrypted) throw new FormatError(file, `zip entry ${quote(entry.name)} is encrypted`);
  const local = new DataView((await source.read(entry.headerOffset, 30)).buffer);
  if (local.getUint32(0, true) !== LOCAL) {
    throw new FormatError(file, `zip entry ${quote(entry.name)} has no header at byte ${entry.headerOffset}; the file is corrupt`);
  }
  const offset = entry.headerOffset + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  checkRange(source, offset, entry.packed);
  return offset;
}

function toNumber(file: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new FormatError(file, `zip archive claims an offset or size of ${value}; it is corrupt`);
  }
  return Number(value);
}
