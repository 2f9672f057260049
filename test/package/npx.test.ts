/** `npx lethe` in a checkout. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

test("npx runs the build of the checkout, from a folder below it too, and installs nothing", () => {
  const cache = mkdtempSync(join(tmpdir(), "lethe-npx-"));
  const env: NodeJS.ProcessEnv = { ...process.env, npm_config_cache: cache, npm_config_offline: "true" };
  // What `npm test` hands down of .npmrc would hide that a file is missing.
  delete env["npm_config_package"];
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  for (const cwd of [".", "cli"]) {
    const printed = execFileSync("npx", ["lethe", "--version"], { cwd, env, encoding: "utf8", shell: process.platform === "win32" });
    assert.is(printed.trim(), version, cwd);
  }
  assert.not.ok(existsSync(join(cache, "_npx")), "npm has installed something into its cache");
  rmSync(cache, { recursive: true });
});

test.run();
