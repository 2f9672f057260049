/** Logs of one JSON value per line. A line counts once its newline is written, so a run cut off in mid-line loses that line only. */
import { FormatError, reason } from "../errors.ts";

export interface JsonLines {
  readonly records: readonly unknown[];
  /** Whether text without a newline was left at the end, as a crash leaves it. It is in no record. */
  readonly torn: boolean;
}

/** @throws FormatError naming the line if a complete one is not JSON. */
export function parseJsonLines(file: string, text: string): JsonLines {
  const lines = text.split("\n");
  const rest = lines.pop()!;
  const records: unknown[] = [];
  lines.forEach((line, i) => {
    if (line.trim() === "") return;
    try {
      records.push(JSON.parse(line));
    } catch (error) {
      throw new FormatError(file, `line ${i + 1} is not JSON: ${reason(error)}`, { cause: error });
    }
  });
  return { records, torn: rest.trim() !== "" };
}

/** One line, with its newline. @throws TypeError for what JSON cannot say (a cycle, a bigint). */
export function formatJsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
