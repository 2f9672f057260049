/**
 * A lock between processes, by a file that exists while it is held. It spares two processes the same download; nothing breaks if it fails
 * (a network disk, a shared container): a blob gets its name only after its bytes on the disk have been checked.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../node-files.ts";
import { diskError } from "./error.ts";

/** A holder touches its lock this often... */
const TOUCH_MS = 5_000;
/** ...and is taken for dead when it has not for this long, by the waiting process's own clock. */
const DEAD_MS = 30_000;
/** A lock without a name is being written at this moment, or its writer was killed in that moment. */
const NAMELESS_MS = 2_000;
const POLL_MS = 100;

/**
 * The locks this process holds now. A lock with our number that is not among them was left by an earlier process: in containers numbers
 * recur.
 */
const held = new Set<string>();

/**
 * Runs `work` while holding the lock.
 * @param onWait called once if another process holds it.
 * @throws whatever `work` throws; HubError if the lock file cannot be written; the signal's reason.
 */
export async function withLock<T>(path: string, signal: AbortSignal, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const mine = `${process.pid} ${hostname()} ${randomBytes(8).toString("hex")}`;
  held.add(mine);
  try {
    await mkdir(dirname(path), { recursive: true });
    await acquire(path, mine, signal, onWait);
  } catch (error) {
    held.delete(mine);
    throw diskError(path, error);
  }
  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    held.delete(mine);
    if ((await contentOf(path)) === mine) await rm(path, { force: true });
  }
}

async function acquire(path: string, mine: string, signal: AbortSignal, onWait: () => void): Promise<void> {
  let seen = "";
  let since = performance.now();
  for (let waiting = false; ; waiting = true) {
    signal.throwIfAborted();
    if (await create(path, mine)) return;
    const holder = await contentOf(path);
    const state = `${holder} ${(await stat(path).catch(() => undefined))?.mtimeMs}`;
    if (state !== seen) [seen, since] = [state, performance.now()];
    if (isDead(holder) || performance.now() - since > (holder === "" ? NAMELESS_MS : DEAD_MS)) {
      await breakLock(path, holder);
      continue;
    }
    if (!waiting) onWait();
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** Only one process at a time may remove a dead one's lock, or the second would remove what the first has just made. */
async function breakLock(path: string, holder: string): Promise<void> {
  const breaking = `${path}.break`;
  if (await create(breaking, "")) {
    try {
      if ((await contentOf(path)) === holder) await rm(path, { force: true });
    } finally {
      await rm(breaking, { force: true });
    }
    return;
  }
  const age = Date.now() - ((await stat(breaking).catch(() => undefined))?.mtimeMs ?? Date.now());
  if (Math.abs(age) > DEAD_MS) await rm(breaking, { force: true }); // killed in the very moment of breaking
  await sleep(POLL_MS);
}

async function create(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    if (codeOf(error) === "EPERM" && process.platform === "win32") return false; // just being deleted
    if (/ENOSPC|EDQUOT|EIO/.test(codeOf(error))) await rm(path, { force: true }); // made, but left empty
    throw error;
  }
}

function contentOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}

/** Whether the lock names a process of this machine that no longer runs. */
function isDead(holder: string): boolean {
  const [pid, host] = holder.split(" ");
  if (!pid || host !== hostname()) return false;
  if (Number(pid) === process.pid) return !held.has(holder);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return codeOf(error) === "ESRCH";
  }
}
