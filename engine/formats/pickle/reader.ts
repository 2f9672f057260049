/** The operand stream of a pickle: bytes, numbers and strings after an opcode. */
import { FormatError } from "../errors.ts";

/** The pickle goes on beyond the bytes given; a caller who read only part of the file may come back with more. */
export class PickleTruncated extends FormatError {}

export class PickleReader {
  private readonly view: DataView;
  private readonly utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  at = 0;

  constructor(readonly file: string, private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(detail: string): FormatError {
    return new FormatError(this.file, `pickle at byte ${this.at}: ${detail}`);
  }

  /** Start of the next `length` bytes, which are passed over. */
  private skip(length: number): number {
    const start = this.at;
    if (length > this.bytes.length - start) {
      throw new PickleTruncated(
        this.file,
        `pickle at byte ${start}: ${length} bytes are wanted, but ${this.bytes.length - start} are left; the file is truncated or corrupt`,
      );
    }
    this.at = start + length;
    return start;
  }

  uint8(): number {
    return this.view.getUint8(this.skip(1));
  }
  uint16(): number {
    return this.view.getUint16(this.skip(2), true);
  }
  int32(): number {
    return this.view.getInt32(this.skip(4), true);
  }
  uint32(): number {
    return this.view.getUint32(this.skip(4), true);
  }
  /** A length; those beyond 2^53 can only be corrupt. */
  uint64(): number {
    const value = this.view.getBigUint64(this.skip(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.fail(`a length of ${value} bytes is claimed`);
    return Number(value);
  }
  /** Big-endian, alone among the operands. */
  float64(): number {
    return this.view.getFloat64(this.skip(8), false);
  }

  raw(length: number): Uint8Array {
    const start = this.skip(length);
    return this.bytes.slice(start, start + length);
  }

  utf8Text(length: number): string {
    const start = this.skip(length);
    try {
      return this.utf8.decode(this.bytes.subarray(start, start + length));
    } catch {
      // Python writes lone surrogates ("surrogatepass"); a replacement character keeps such a name readable.
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes.subarray(start, start + length));
    }
  }

  latin1Text(length: number): string {
    const start = this.skip(length);
    let text = "";
    for (let i = start; i < start + length; i += 4096) {
      text += String.fromCharCode(...this.bytes.subarray(i, Math.min(i + 4096, start + length)));
    }
    return text;
  }

  /** Up to a newline, as the operands of GLOBAL are written. */
  line(): string {
    const end = this.bytes.subarray(this.at, this.at + 1024).indexOf(10);
    if (end < 0 && this.bytes.length - this.at < 1024) {
      throw new PickleTruncated(this.file, `pickle at byte ${this.at}: ends inside a name; the file is truncated or corrupt`);
    }
    if (end < 0) throw this.fail("a name of more than 1024 characters");
    const text = this.utf8Text(end);
    this.at++;
    return text;
  }

  /** A little-endian two's complement integer of any length up to 1024 bytes; exact, a bigint where a number is not. */
  long(length: number): number | bigint {
    if (length > 1024) throw this.fail(`an integer of ${length} bytes`);
    const start = this.skip(length);
    let value = 0n;
    for (let i = start + length - 1; i >= start; i--) value = (value << 8n) | BigInt(this.bytes[i]!);
    const signed = BigInt.asIntN(8 * length, value);
    const small = Number(signed);
    return Number.isSafeInteger(small) ? small : signed;
  }
}
