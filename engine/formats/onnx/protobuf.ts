/**
 * Protocol Buffers' wire format, as far as reading one message field by field needs it. Nothing is copied and nothing recurses:
 * a nested message is a range that the caller may open with a reader of its own. Work is bounded by the message's bytes.
 * Source: the encoding chapter of protobuf's documentation.
 */
import { FormatError } from "../errors.ts";

/** How a field's value is stored. */
export const WIRE = { varint: 0, fixed64: 1, length: 2, fixed32: 5 } as const;

/** A field's value: its number and where it lies. For `varint` the range holds the varint's own bytes. */
export interface ProtobufField {
  readonly number: number;
  readonly wire: number;
  readonly start: number;
  readonly end: number;
}

const MAX_VARINT_BYTES = 10;

/** A message inside `bytes`, from `start` up to `end`. */
export class ProtobufReader {
  private at: number;

  /** @param what names the message in errors */
  constructor(
    private readonly file: string,
    private readonly bytes: Uint8Array<ArrayBuffer>,
    private readonly what: string,
    start = 0,
    private readonly end = bytes.length,
  ) {
    this.at = start;
  }

  private fail(detail: string, at = this.at): FormatError {
    return new FormatError(this.file, `${this.what} at byte ${at}: ${detail}; the file is truncated, corrupt or no protocol buffer`);
  }

  /**
   * The next field, or undefined at the message's end.
   * @throws FormatError for a malformed tag or a value that reaches beyond the message.
   */
  next(): ProtobufField | undefined {
    if (this.at >= this.end) return undefined;
    const tagAt = this.at;
    const tag = this.varint();
    const wire = tag & 7;
    const number = Math.floor(tag / 8);
    if (!(number >= 1 && number < 2 ** 29)) throw this.fail(`field number ${number}`, tagAt);
    let start = this.at;
    if (wire === WIRE.varint) this.varint();
    else if (wire === WIRE.fixed64 || wire === WIRE.fixed32) this.at += wire === WIRE.fixed64 ? 8 : 4;
    else if (wire === WIRE.length) {
      const length = this.varint();
      if (length < 0) throw this.fail(`field ${number} has a length of ${length}`, tagAt);
      start = this.at;
      this.at += length;
    } else throw this.fail(`field ${number} has wire type ${wire}`, tagAt);
    if (this.at > this.end) {
      throw this.fail(`field ${number} of ${this.at - start} bytes reaches beyond the message's end at byte ${this.end}`, tagAt);
    }
    return { number, wire, start, end: this.at };
  }

  /** As a signed number of 64 bits; inexact beyond 2^53, which every caller refuses. */
  private varint(): number {
    const start = this.at;
    let value = 0;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      if (this.at >= this.end) throw this.fail("ends inside a number");
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return i < 7 ? value : this.longVarint(start);
    }
    throw this.fail("a number of more than ten bytes");
  }

  private longVarint(start: number): number {
    let value = 0n;
    for (let i = this.at - 1; i >= start; i--) value = (value << 7n) | BigInt(this.bytes[i]! & 0x7f);
    return Number(BigInt.asIntN(64, value));
  }

  /**
   * The whole numbers of an int64 field: one, or a packed list of at most `limit`.
   * @throws FormatError for another wire type, more numbers, or one beyond 2^53.
   */
  integers(field: ProtobufField, limit: number): number[] {
    if (field.wire !== WIRE.varint && field.wire !== WIRE.length) {
      throw this.fail(`field ${field.number} should be a whole number, but has wire type ${field.wire}`, field.start);
    }
    const packed = new ProtobufReader(this.file, this.bytes, this.what, field.start, field.end);
    const numbers: number[] = [];
    while (packed.at < packed.end) {
      const value = packed.varint();
      if (!Number.isSafeInteger(value)) throw this.fail(`field ${field.number} holds ${value}`, field.start);
      if (numbers.push(value) > limit) throw this.fail(`field ${field.number} holds more than ${limit} numbers`, field.start);
    }
    return numbers;
  }

  /** One whole number. @throws FormatError as `integers`, or for a list. */
  integer(field: ProtobufField): number {
    const numbers = this.integers(field, 1);
    if (numbers.length !== 1) throw this.fail(`field ${field.number} should be one number, but holds ${numbers.length}`, field.start);
    return numbers[0]!;
  }

  /** The range of a string, bytes, packed list or message. @throws FormatError for another wire type. */
  range(field: ProtobufField): { readonly start: number; readonly end: number } {
    if (field.wire !== WIRE.length) throw this.fail(`field ${field.number} should be bytes, but has wire type ${field.wire}`, field.start);
    return { start: field.start, end: field.end };
  }

  /** A reader of a nested message. */
  message(field: ProtobufField, what: string): ProtobufReader {
    const { start, end } = this.range(field);
    return new ProtobufReader(this.file, this.bytes, what, start, end);
  }

  /** A string of at most `limit` bytes; what is not UTF-8 reads as replacement characters. */
  text(field: ProtobufField, limit = 4096): string {
    const { start, end } = this.range(field);
    if (end - start > limit) {
      throw this.fail(`field ${field.number} is a text of ${end - start} bytes, more than the ${limit} allowed`, start);
    }
    return new TextDecoder().decode(this.bytes.subarray(start, end));
  }
}
