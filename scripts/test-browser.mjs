// Runs the tests of test/browser in a real Chromium (apt-get install chromium, or LETHE_CHROMIUM=/path/to/it). The last line is "N passed,
// N failed".
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { buildProduct, buildTests } from "./build.mjs";

const wanted = process.argv.slice(2);
const files = readdirSync("test/browser")
  .filter((f) => f.endsWith(".browser.ts") && (wanted.length === 0 || wanted.some((w) => f.includes(w))))
  .map((f) => `browser/${f}`);
const outdir = `dist/test/${process.pid}`;
await buildProduct();
await buildTests(files, outdir);
let passed = 0, failed = 0;
for (const file of files) {
  const run = spawnSync(process.execPath, ["--enable-source-maps", `${outdir}/${file.replace(/\.ts$/, ".js")}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 15 * 60_000,
    env: { ...process.env, FORCE_COLOR: "0" },
  });
  process.stdout.write(run.stdout);
  const total = Number(/Total:\s+(\d+)/.exec(run.stdout)?.[1] ?? 0);
  const good = Number(/Passed:\s+(\d+)/.exec(run.stdout)?.[1] ?? 0);
  passed += good;
  // A file that crashes, hangs or reports nothing counts as one failure.
  failed += run.status !== 0 || total === 0 ? Math.max(1, total - good) : total - good;
}
rmSync(outdir, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
