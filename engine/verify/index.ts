import { errorMessage } from "../runtime/errors.ts";
import { Check } from "./check.ts";
import { VerifyContext, type VerifySources } from "./context.ts";
import { FORM_NAMES, formOf } from "./forms/index.ts";
import { findGoldens, openGolden } from "./golden.ts";
import { type Row, Rows, endsRun, tolerancesOf } from "./rows.ts";

export type { Measure, Row } from "./rows.ts";
export type { VerifySources } from "./context.ts";

/** What one reference file took. */
export interface FileWork {
  readonly file: string;
  /** Wall-clock time, loading of the model included where this file was the first to need it. */
  readonly seconds: number;
  /** The most device memory held meanwhile; 0 where no device was needed. */
  readonly peakBytes: number;
  /** Floating-point operations of all programs that were run, by the kernels' own counts. */
  readonly flops: number;
}

export interface VerifyResult {
  /** Every row is within its tolerance, and there is at least one. */
  readonly ok: boolean;
  readonly rows: readonly Row[];
  readonly files: readonly FileWork[];
  /** The tolerances are those of operands rounded to f16. */
  readonly halfPrecision: boolean;
  /** The model's weights were rounded to f16, and its references judged accordingly. */
  readonly halfWeights: boolean;
}

export interface VerifyOptions extends VerifySources {
  /** A reference's .json, or a folder of them. */
  readonly golden: string;
  /** Called before each file. */
  readonly onFile?: (file: string, index: number, count: number) => void;
  readonly onRow?: (row: Row) => void;
}

/**
 * Recomputes reference outputs on the device and compares. Nothing is passed over: a form, case or tensor without a check, and whatever
 * throws on the way, is a failed row; only a lost device or an unusable adapter ends the run.
 * @throws FormatError if there is no reference at `golden`, or the one file named is not one; NoAdapterError, DeviceLostError
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { golden: path, onFile, onRow } = options;
  const paths = await findGoldens(options.files, path);
  const context = new VerifyContext(options);
  const all: Row[] = [];
  const work: FileWork[] = [];
  try {
    for (const [i, file] of paths.entries()) {
      const shown = file.startsWith(`${path}/`) ? file.slice(path.length + 1) : file.slice(file.lastIndexOf("/") + 1);
      onFile?.(shown, i, paths.length);
      const rows = new Rows(shown, onRow, () => tolerancesOf(context));
      const started = performance.now();
      const flopsBefore = context.usage?.flops ?? 0;
      context.begin();
      await checkFile(file, rows, context, paths.length === 1);
      all.push(...rows.list);
      work.push({
        file: shown,
        seconds: (performance.now() - started) / 1000,
        peakBytes: context.usage?.peakBytes ?? 0,
        flops: (context.usage?.flops ?? 0) - flopsBefore,
      });
    }
  } finally {
    await context.destroy();
  }
  return {
    ok: all.length > 0 && all.every((r) => r.ok),
    rows: all,
    files: work,
    halfPrecision: context.halfPrecision,
    halfWeights: options.weights === "f16",
  };
}

async function checkFile(path: string, rows: Rows, context: VerifyContext, alone: boolean): Promise<void> {
  let golden;
  try {
    golden = await openGolden(context.files, path);
  } catch (error) {
    if (alone) throw error;
    return rows.failed("", "", errorMessage(error));
  }
  try {
    const form = formOf(golden);
    if (!form) return rows.failed("", "", `no check for this form of reference; known are ${FORM_NAMES.join(", ")}`);
    await form.check(new Check(golden, rows, context));
    const why = (what: string): string => (rows.broken ? "not reached" : `no check for this ${what}`);
    for (const tensor of golden.unused()) rows.failed("", tensor, why("tensor"));
    if (!rows.broken) for (const tensor of golden.missing()) rows.failed("", tensor, "listed, but not in the file");
    const seen = new Set(rows.list.map((row) => row.case));
    for (const name of golden.caseNames()) if (!seen.has(name)) rows.failed(name, "", why("case"));
    if (rows.list.length === 0) rows.failed("", "", "holds no case");
  } catch (error) {
    if (endsRun(error)) throw error;
    rows.failed("", "", errorMessage(error));
  } finally {
    await context.forgetPrograms();
    await golden.close();
  }
}
