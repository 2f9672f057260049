/** Prompt tables. */
import { parse } from "csv-parse/browser/esm/sync";
import { FormatError, quote, reason } from "../errors.ts";

export interface CsvTable {
  readonly columns: readonly string[];
  /** One record per line; every record has every column. */
  readonly rows: readonly Readonly<Record<string, string>>[];
}

/**
 * Comma-separated text with a header line: quotes, commas and line breaks inside quotes, CRLF, and a byte order mark are understood; empty
 * lines are skipped.
 * @param required columns that must be there.
 * @throws FormatError for a malformed line (with its number), a missing or doubled required column, or no rows.
 */
export function parseCsv(file: string, text: string, required: readonly string[] = []): CsvTable {
  let lines: string[][];
  try {
    lines = parse(text, { bom: true, skip_empty_lines: true, relax_quotes: true });
  } catch (error) {
    throw new FormatError(file, `is not a proper CSV table: ${reason(error)}`, { cause: error });
  }
  const [columns, ...records] = lines;
  if (!columns) throw new FormatError(file, "is empty; a CSV table with a header line is expected");
  for (const name of required) {
    const count = columns.filter((column) => column === name).length;
    if (count !== 1) {
      throw new FormatError(
        file,
        `has ${count === 0 ? "no" : "more than one"} column ${quote(name)}; its columns are ${columns.map(quote).join(", ")}`,
      );
    }
  }
  if (records.length === 0) throw new FormatError(file, "has a header line but no rows");
  return { columns, rows: records.map((record) => Object.fromEntries(columns.map((column, i) => [column, record[i]!]))) };
}
