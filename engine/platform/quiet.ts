import { closeSync, constants, fstatSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Runs `fn` with what native code writes to stderr meanwhile collected instead of shown. Dawn and Vulkan drivers warn
 * there of harmless things at every start, and have no switch for it; the text is of use only when no adapter is found.
 *
 * Only on Linux with stderr a terminal or a pipe: those can be opened anew by path, so that descriptor 2 can be put
 * back. Anywhere else `fn` just runs. `fn` must be synchronous.
 */
export function withQuietStderr<T>(fn: () => T): { result: T; text: string } {
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
