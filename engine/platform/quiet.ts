import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Runs `fn` with what native code writes to stderr meanwhile collected instead of shown. Dawn and Vulkan drivers warn
 * there of harmless things at every start, and have no switch for it; the text is of use only when no adapter is found.
 *
 * Only on Linux. A terminal or a pipe can be opened anew by path, so that descriptor 2 can be put back. In a file, whose place of writing
 * is shared with other processes, the text is taken out again. Anywhere else `fn` just runs. `fn` must be synchronous.
 */
export function withQuietStderr<T>(fn: () => T): { result: T; text: string } {
  const file = process.platform === "linux" ? stderrFile() : undefined;
  return file ? withTextTakenOut(file, fn) : withTextElsewhere(fn);
}

interface StderrFile {
  readonly size: number;
  readonly appends: boolean;
}

const O_APPEND = 0o2000;

/** Stderr as a file that ends where it is written to; undefined if it is something else. */
function stderrFile(): StderrFile | undefined {
  try {
    const status = fstatSync(2);
    if (!status.isFile()) return undefined;
    const info = readFileSync("/proc/self/fdinfo/2", "utf8");
    const [position, flags] = [/^pos:\s*(\d+)/m, /^flags:\s*(\d+)/m].map((field) => field.exec(info)?.[1] ?? "");
    const appends = (Number.parseInt(flags!, 8) & O_APPEND) !== 0;
    return appends || Number(position) === status.size ? { size: status.size, appends } : undefined;
  } catch {
    return undefined;
  }
}

/** Where a file is not appended to, the next text goes behind what was taken out: a blank line stands there then. */
function withTextTakenOut<T>({ size, appends }: StderrFile, fn: () => T): { result: T; text: string } {
  let result: T;
  try {
    result = fn();
  } catch (error) {
    takeOut(size, appends);
    throw error;
  }
  return { result, text: takeOut(size, appends) };
}

function takeOut(size: number, appends: boolean): string {
  const length = fstatSync(2).size - size;
  if (length <= 0) return "";
  const bytes = readFileSync("/proc/self/fd/2").subarray(size);
  if (appends) ftruncateSync(2, size);
  else writeSync(2, `${" ".repeat(length - 1)}\n`, size);
  return bytes.toString("utf8");
}

function withTextElsewhere<T>(fn: () => T): { result: T; text: string } {
  const path = join(tmpdir(), `lethe-stderr-${process.pid}-${performance.now()}`);
  const saved = prepare(path);
  if (saved === undefined) return { result: fn(), text: "" };
  closeSync(2);
  const replaced = openSync(path, constants.O_WRONLY | constants.O_APPEND) === 2; // the lowest free descriptor
  try {
    const result = fn();
    return { result, text: readFileSync(path, "utf8") };
  } finally {
    if (replaced) {
      closeSync(2);
      openSync(`/proc/self/fd/${saved}`, REOPEN);
    }
    closeSync(saved);
    rmSync(path, { force: true });
  }
}

const REOPEN = constants.O_WRONLY | constants.O_APPEND | constants.O_NOCTTY;

/** An empty file at `path` and a second descriptor for stderr; undefined where stderr must be left alone. */
function prepare(path: string): number | undefined {
  try {
    const kind = fstatSync(2);
    if (process.platform !== "linux" || !(kind.isCharacterDevice() || kind.isFIFO())) return undefined;
    closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600));
    return openSync("/proc/self/fd/2", REOPEN);
  } catch {
    rmSync(path, { force: true }); // stderr closed or another user's terminal, or no temporary files: the warnings are shown
    return undefined;
  }
}
