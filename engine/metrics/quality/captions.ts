import { FormatError, quote } from "../../formats/errors.ts";
import { parseCsv } from "../../formats/text/csv.ts";

/** A row of a captions table: one picture. */
export interface Caption {
  /** What its picture is called: CASE_0.png, the case number read as a whole number. */
  readonly file: string;
  readonly prompt: string;
  /** Of the start noise, as torch's CPU generator. */
  readonly seed: number;
}

/**
 * A captions table as the benchmark's coco_10k.csv: columns case_number, prompt and evaluation_seed; others do not count.
 * Source: AdvUnlearn train-scripts/generate-example-img.py:122, 215-219
 * @throws FormatError naming the row for a missing column or a value that cannot be
 */
export function parseCaptions(file: string, text: string): Caption[] {
  const { rows } = parseCsv(file, text, ["case_number", "prompt", "evaluation_seed"]);
  const seen = new Map<string, number>();
  return rows.map((row, i) => {
    const whole = (column: string, least: number): number => {
      const given = row[column]!.trim();
      const value = given === "" ? Number.NaN : Number(given);
      if (Number.isSafeInteger(value) && value >= least) return value;
      throw new FormatError(file, `row ${i + 1}: ${column} is ${quote(given)}; a whole number is expected`);
    };
    const name = `${whole("case_number", 0)}_0.png`;
    const before = seen.get(name);
    if (before !== undefined) {
      throw new FormatError(file, `row ${i + 1}: case_number ${row["case_number"]!.trim()} is that of row ${before} already`);
    }
    seen.set(name, i + 1);
    return { file: name, prompt: row["prompt"]!, seed: whole("evaluation_seed", -(2 ** 31)) };
  });
}
