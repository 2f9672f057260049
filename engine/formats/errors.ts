/**
 * A file that cannot be used: missing, unreadable, unwritable, truncated, corrupt, hostile, or of another kind than wanted.
 * The message is one line, `FILE: DETAIL`, made of printable characters only: names taken from a file may hold anything.
 */
export class FormatError extends Error {
  override readonly name = "FormatError";
  /** What the command line ends with: 2, bad input. */
  readonly exitCode = 2;
  /** The file as the caller named it. */
  readonly file: string;
  /** What is wrong: tensor or offset, expected and actual, and what to do. */
  readonly detail: string;

  constructor(file: string, detail: string, options?: ErrorOptions) {
    super(`${printable(file, 400)}: ${printable(detail, 2000)}`, options);
    this.file = file;
    this.detail = printable(detail, 2000);
  }
}

/** A name out of a file, quoted for a message and cut to 120 characters. */
export function quote(text: string): string {
  return `"${printable(text, 120)}"`;
}

/** `text` on one line without control characters, at most `limit` characters long. */
function printable(text: string, limit: number): string {
  const clean = text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
  return clean.length <= limit ? clean : `${clean.slice(0, limit)}...`;
}

/** The message of anything thrown, for use inside a detail. */
export function reason(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
