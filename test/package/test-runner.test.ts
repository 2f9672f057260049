// What `node scripts/test.mjs` takes: paths as people type them, parts of paths, and cases by name.
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

const FILE = "attack/search/slot-layout.test.ts"; // needs no device

function run(...args: string[]): { readonly status: number | null; readonly text: string; readonly last: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/test.mjs", ...args], { encoding: "utf8" });
  return { status, text: stdout + stderr, last: stdout.trim().split("\n").at(-1)! };
}

test("a file by its path, from the checkout's root or absolute, or by a part of it below test/", () => {
  const expected = run(FILE);
  assert.match(expected.last, /^[1-9]\d* passed, 0 failed$/);
  assert.is(expected.status, 0);
  for (const path of [`test/${FILE}`, `./test/${FILE}`, resolve("test", FILE), "search/slot-layout"]) {
    assert.is(run(path).last, expected.last, path);
  }
});

test("cases by name; the others of the file do not run", () => {
  const { status, last, text } = run(`test/${FILE}`, "ops/table", "--only", "how much would");
  assert.equal([status, last], [0, "1 passed, 0 failed"], text);
});

test("a path that is not there, a part that no file has, a name that no case has and an unknown flag end with status 2 and say so", () => {
  for (const [args, message] of [
    [["test/attic.test.ts"], /no such file or folder: test\/attic\.test\.ts/],
    [[FILE, "attic"], /no test file matches attic/],
    [[FILE, "--only", "an attic"], /no case of these files has "an attic" in its name/],
    [["--all"], /usage: node scripts\/test\.mjs/],
  ] as const) {
    const { status, text } = run(...args);
    assert.is(status, 2, text);
    assert.match(text, message);
  }
});

test.run();
