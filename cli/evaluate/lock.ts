import { readFileSync } from "node:fs";
import { open, readFile, readdir, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import { makeFolder } from "../../engine/platform/node-files.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";

/** Who holds a folder. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Tells a process from another that got the same number later; empty where the system does not tell. */
  readonly born: string;
  readonly since: string;
}

/**
 * How often a holder shows that it lives, and how long another machine's is watched for that: of those only the file's time can be seen. In
 * milliseconds.
 */
export interface LockTimes {
  readonly heartbeat: number;
  readonly silence: number;
}
const TIMES: LockTimes = { heartbeat: 15_000, silence: 50_000 };
/** How long a file may be empty between being made and being written. */
const WRITING_MS = 500;

/**
 * Runs `work` while this process alone may write to the folder, which is made. A dead process's lock is taken over: lock files are
 * numbered, and of those who see that one is dead only the first can make the next number.
 * @throws UsageError if another process is at work there; FormatError for a folder that cannot be written to; what `work` throws
 */
export async function withLock<T>(folder: string, say: (line: string) => void, work: () => Promise<T>, times = TIMES): Promise<T> {
  const file = await acquire(folder, say, times.silence);
  const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), times.heartbeat);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(file, { force: true });
  }
}

/** @returns the lock's file */
async function acquire(folder: string, say: (line: string) => void, silence: number): Promise<string> {
  await makeFolder(folder);
  for (;;) {
    const numbers = (await readdir(folder))
      .flatMap((name) => /^\.lock-(\d+)$/.exec(name)?.slice(1).map(Number) ?? [])
      .toSorted((a, b) => a - b);
    const last = numbers.at(-1);
    if (last !== undefined) {
      const holder = await living(fileOf(folder, last), say, silence);
      if (holder) {
        throw new UsageError(
          `${folder} is being written by another process (${holder.pid} on ${holder.host}, since ${holder.since}): wait for it, or give ` +
            "another folder",
        );
      }
    }
    const file = fileOf(folder, (last ?? 0) + 1);
    if (!(await create(file))) continue; // another was faster: look again
    if (last !== undefined) say(`${folder}: the process that was at work here has died; going on in its place`);
    for (const number of numbers) await rm(fileOf(folder, number), { force: true });
    return file;
  }
}

function fileOf(folder: string, number: number): string {
  return join(folder, `.lock-${number}`);
}

/** Makes the lock's file; false if there is one. @throws FormatError */
async function create(file: string): Promise<boolean> {
  try {
    const handle = await open(file, "wx");
    const holder: Holder = { pid: process.pid, host: hostname(), born: birth(process.pid), since: new Date().toISOString() };
    await handle.writeFile(JSON.stringify(holder)).finally(() => handle.close());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    await rm(file, { force: true }).catch(() => undefined);
    throw new FormatError(file, `cannot be written: ${errorMessage(error)}`, { cause: error });
  }
}

/** The lock's holder, if it lives. One on another machine is watched for a while. */
async function living(file: string, say: (line: string) => void, silence: number): Promise<Holder | undefined> {
  const holder = (await read(file)) ?? (await pause(WRITING_MS), await read(file));
  if (!holder) return undefined;
  if (holder.host === hostname()) return isAlive(holder) ? holder : undefined;
  say(`${file} is of process ${holder.pid} on ${holder.host}: watching for ${silence / 1000} seconds whether it lives`);
  const before = await changed(file);
  await pause(silence);
  return (await changed(file)) === before ? undefined : holder;
}

async function read(file: string): Promise<Holder | undefined> {
  try {
    const { pid, host, born, since } = JSON.parse(await readFile(file, "utf8")) as Partial<Holder>;
    return typeof pid === "number" && typeof host === "string" ? { pid, host, born: String(born), since: String(since) } : undefined;
  } catch {
    return undefined; // gone, or a process died while writing it
  }
}

function isAlive({ pid, born }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // there, but another user's
  }
  const now = birth(pid);
  return born === "" || now === "" || born === now;
}

/**
 * When a process began, as Linux tells it: the boot, and the ticks since then; "ended" for one that only waits to be reaped. Empty
 * elsewhere.
 */
function birth(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    if (fields[0] === "Z") return "ended";
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()} ${fields[19]}`;
  } catch {
    return "";
  }
}

async function changed(file: string): Promise<number> {
  return stat(file).then((s) => s.mtimeMs, () => Number.NaN);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
