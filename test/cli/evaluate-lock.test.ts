/** The lock on an evaluation's folder: one process at a time, and a dead one's is taken over. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { withLock } from "../../cli/evaluate/lock.ts";
import { UsageError } from "../../engine/runtime/errors.ts";

const root = mkdtempSync(join(tmpdir(), "lethe-lock-"));
test.after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => join(root, `f${count++}`);
const quiet = (): void => undefined;

/** A folder with a lock of somebody else. */
function locked(content: string): string {
  const folder = fresh();
  mkdirSync(folder);
  writeFileSync(join(folder, ".lock-3"), content);
  return folder;
}

async function refusal(folder: string, times?: Parameters<typeof withLock>[3]): Promise<string> {
  try {
    await withLock(folder, quiet, () => Promise.resolve(), times);
  } catch (error) {
    assert.instance(error, UsageError);
    return (error as Error).message;
  }
  return assert.unreachable() as never;
}

test("one at a time; nothing is left behind, whether the work succeeds or fails", async () => {
  const folder = fresh();
  const result = await withLock(folder, quiet, async () => {
    assert.match(await refusal(folder), new RegExp(`is being written by another process \\(${process.pid} on ${hostname()}`));
    return 7;
  });
  assert.is(result, 7);
  await withLock(folder, quiet, () => Promise.reject(new Error("broken"))).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "broken"),
  );
  assert.equal(readdirSync(folder), []);
});

test("of many who find a dead process's lock at once, one gets it", async () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const folder = locked(JSON.stringify({ pid: dead, host: hostname(), born: "", since: "x" }));
  const said: string[] = [];
  let inside = 0;
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => withLock(folder, (line) => said.push(line), async () => {
    assert.is(++inside, 1);
    await new Promise((done) => setTimeout(done, 300));
    inside--;
  })));
  assert.is(tries.filter((t) => t.status === "fulfilled").length, 1);
  assert.is(said.filter((line) => /has died; going on in its place/.test(line)).length, 1);
  assert.equal(readdirSync(folder), []);
});

test("a living process's lock holds; one of the same number that began at another time does not", async () => {
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 20000)"], { stdio: "ignore" });
  try {
    await new Promise((done) => child.on("spawn", done));
    const holder = { pid: child.pid, host: hostname(), born: "", since: "noon" };
    assert.match(await refusal(locked(JSON.stringify(holder))), /since noon\): wait for it, or give another folder/);
    if (process.platform === "linux") {
      await withLock(locked(JSON.stringify({ ...holder, born: "another boot 1" })), quiet, () => Promise.resolve());
    }
  } finally {
    child.kill("SIGKILL");
  }
});

test("a lock that was never written is a dead process's", async () => {
  for (const content of ["", '{"pid":', "[]"]) await withLock(locked(content), quiet, () => Promise.resolve());
});

test("another machine's lock holds as long as it is renewed", async () => {
  const times = { heartbeat: 20, silence: 120 };
  const content = JSON.stringify({ pid: 1, host: "elsewhere", born: "", since: "noon" });
  await withLock(locked(content), quiet, () => Promise.resolve(), times);
  const folder = locked(content);
  const beat = setInterval(() => utimesSync(join(folder, ".lock-3"), new Date(), new Date()), 20);
  assert.match(await refusal(folder, times), /1 on elsewhere/);
  clearInterval(beat);
  // and one's own is renewed
  const own = fresh();
  await withLock(own, quiet, async () => {
    const file = join(own, ".lock-1");
    writeFileSync(file, readFileSync(file, "utf8").replace(hostname(), "elsewhere"));
    await refusal(own, times);
  }, times);
});

test.run();
