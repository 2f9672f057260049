/**
 * Writer of zip archives of stored entries, piece by piece, as torch.save makes them: data at multiples of 64 bytes, zip64 where a file
 * grows beyond 4 GiB. Source: PKWARE APPNOTE 6.3.9, sections 4.3 to 4.5; caffe2/serialize/inline_container.cc (`getPadding`).
 */
import { crc32 } from "./bytes.ts";

/** An entry, whose bytes are asked for when its turn comes. At most 4 GiB. */
export interface ZipPart {
  readonly name: string;
  readonly read: () => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

const ALIGNMENT = 64;
const FULL = 0xffffffff;
/** 1980-01-01, the first day that the format knows: the same entries give the same bytes. */
const DATE = 0x21;

/** The archive's bytes in order. */
export async function* zipPieces(parts: Iterable<ZipPart>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const directory: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0;
  for (const { name, read } of parts) {
    const data = await read();
    const crc = crc32(data);
    const local = localHeader(name, data.length, crc, offset);
    directory.push(centralHeader(name, data.length, crc, offset));
    offset += local.length + data.length;
    yield local;
    yield data;
  }
  yield* directory;
  yield endRecords(directory.length, directory.reduce((sum, { length }) => sum + length, 0), offset);
}

/** With an extra field as torch writes it ("FB", Z), so that the data begins at a multiple of ALIGNMENT. */
function localHeader(name: string, size: number, crc: number, offset: number): Uint8Array<ArrayBuffer> {
  const encoded = new TextEncoder().encode(name);
  const end = offset + 30 + encoded.length + 4;
  const pad = (ALIGNMENT - (end % ALIGNMENT)) % ALIGNMENT;
  const bytes = new Uint8Array(30 + encoded.length + 4 + pad).fill(0x5a, 30 + encoded.length + 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x04034b50, true);
  commonFields(view, 4, encoded.length, size, crc, 4 + pad);
  bytes.set(encoded, 30);
  view.setUint16(30 + encoded.length, 0x4246, true);
  view.setUint16(32 + encoded.length, pad, true);
  return bytes;
}

function centralHeader(name: string, size: number, crc: number, offset: number): Uint8Array<ArrayBuffer> {
  const encoded = new TextEncoder().encode(name);
  const wide = offset >= FULL;
  const bytes = new Uint8Array(46 + encoded.length + (wide ? 12 : 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x02014b50, true);
  view.setUint16(4, wide ? 45 : 20, true);
  commonFields(view, 6, encoded.length, size, crc, wide ? 12 : 0);
  view.setUint32(42, Math.min(offset, FULL), true);
  bytes.set(encoded, 46);
  if (wide) {
    view.setUint16(46 + encoded.length, 1, true);
    view.setUint16(48 + encoded.length, 8, true);
    view.setBigUint64(50 + encoded.length, BigInt(offset), true);
  }
  return bytes;
}

/** What both headers have: version, flags, method, time, date, CRC-32, sizes, lengths. Names are UTF-8 (bit 11). */
function commonFields(view: DataView, at: number, nameBytes: number, size: number, crc: number, extraBytes: number): void {
  view.setUint16(at, 20, true);
  view.setUint16(at + 2, 0x0800, true);
  view.setUint16(at + 8, DATE, true);
  view.setUint32(at + 10, crc, true);
  view.setUint32(at + 14, size, true);
  view.setUint32(at + 18, size, true);
  view.setUint16(at + 22, nameBytes, true);
  view.setUint16(at + 24, extraBytes, true);
}

function endRecords(count: number, size: number, offset: number): Uint8Array<ArrayBuffer> {
  const wide = count >= 0xffff || offset >= FULL || size >= FULL;
  const bytes = new Uint8Array(22 + (wide ? 76 : 0));
  const view = new DataView(bytes.buffer);
  if (wide) {
    view.setUint32(0, 0x06064b50, true);
    view.setBigUint64(4, 44n, true);
    view.setUint16(12, 45, true);
    view.setUint16(14, 45, true);
    view.setBigUint64(24, BigInt(count), true);
    view.setBigUint64(32, BigInt(count), true);
    view.setBigUint64(40, BigInt(size), true);
    view.setBigUint64(48, BigInt(offset), true);
    view.setUint32(56, 0x07064b50, true);
    view.setBigUint64(64, BigInt(offset + size), true);
    view.setUint32(72, 1, true);
  }
  const at = bytes.length - 22;
  view.setUint32(at, 0x06054b50, true);
  view.setUint16(at + 8, Math.min(count, 0xffff), true);
  view.setUint16(at + 10, Math.min(count, 0xffff), true);
  view.setUint32(at + 12, Math.min(size, FULL), true);
  view.setUint32(at + 16, Math.min(offset, FULL), true);
  return bytes;
}
