import { randomBytes } from "node:crypto";
import { access, open, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { FormatError } from "../engine/formats/errors.ts";
import { errorMessage, UsageError } from "../engine/runtime/errors.ts";

/**
 * Finds out by trying, before long work begins, whether a folder can be made and written to: writes to the nearest one above it that
 * exists.
 * Makes no folder, so that processes which begin at one time with folders beside each other cannot take away each other's.
 * @throws FormatError naming the folder.
 */
export async function requireWritableFolder(folder: string): Promise<void> {
  try {
    let existing = resolve(folder);
    while (!(await exists(existing)) && dirname(existing) !== existing) existing = dirname(existing);
    const probe = join(existing, `.lethe-${process.pid}-${randomBytes(4).toString("hex")}.tmp`);
    const handle = await open(probe, "wx");
    await handle.close();
    await rm(probe);
  } catch (error) {
    throw new FormatError(folder, `cannot be written to: ${errorMessage(error)}`, { cause: error });
  }
}

/** The same for a file, whose folder is made if need be when it is written. @throws FormatError naming the file */
export async function requireWritableFile(file: string): Promise<void> {
  const status = await stat(file).catch(() => undefined);
  if (status?.isDirectory()) throw new FormatError(file, "is a folder; give the name of a file");
  await requireWritableFolder(dirname(resolve(file)));
}

/** @throws UsageError unless the name ends in .png */
export function requirePngName(file: string): void {
  if (!/\.png$/i.test(file)) throw new UsageError(`${file}: pictures are written as PNG; give a name that ends in .png`);
}

/** Whether there is something of that name. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(() => true, () => false);
}
