import { readdir, stat } from "node:fs/promises";
import { relative, resolve, sep } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import { type LayoutName, LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import type { UnlearnStart } from "./begin.ts";

/**
 * Refuses a place for the result where something would be lost: what the model is read from, or a folder's files that no run wrote.
 * @param inputs files and folders that the run reads
 * @throws UsageError, FormatError
 */
export async function requireResultPlace(
  { out, overwrite, written }: UnlearnStart,
  layout: LayoutName,
  inputs: readonly string[],
): Promise<void> {
  const there = await stat(out).catch(() => undefined);
  if (!there) return;
  const whole = resolve(out);
  const read = inputs.find((path) => resolve(path) === whole || resolve(path).startsWith(whole + sep));
  if (read !== undefined) throw new UsageError(`${out}: the run reads ${read}, which would be replaced; give another name`);
  const { ending } = LAYOUTS[layout];
  if (there.isDirectory() && ending !== "") throw new FormatError(out, `is a folder; layout ${layout} writes a file: give another name`);
  if (!there.isDirectory() && ending === "") throw new FormatError(out, `is a file; layout ${layout} writes a folder: give another name`);
  if (!there.isDirectory() || !overwrite) return;
  const own = new Set(written.map((path) => resolve(whole, "..", path)));
  const files = (await readdir(out, { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory());
  const foreign = files.map((entry) => resolve(entry.parentPath, entry.name)).find((path) => !own.has(path));
  if (foreign === undefined) return;
  throw new UsageError(`${out} holds ${relative(whole, foreign)}, which no finished run wrote: take it away, or give another name`);
}
