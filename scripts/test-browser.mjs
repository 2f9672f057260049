// Runs the tests of test/browser in a real Chromium (apt-get install chromium, or LETHE_CHROMIUM=/path/to/it). The last line is "N passed,
// N failed".
import { readdirSync, rmSync } from "node:fs";
import { buildProduct, buildTests } from "./build.mjs";
import { runTestFile } from "./run-test-file.mjs";

const wanted = process.argv.slice(2);
const files = readdirSync("test/browser")
  .filter((f) => f.endsWith(".browser.ts") && (wanted.length === 0 || wanted.some((w) => f.includes(w))))
  .map((f) => `browser/${f}`);
if (files.length === 0) {
  console.error(`no file of test/browser has ${wanted.map((w) => JSON.stringify(w)).join(" or ")} in its name`);
  process.exit(1);
}
const outdir = `dist/test/${process.pid}`;
await buildProduct();
await buildTests(files, outdir);
let passed = 0, failed = 0;
for (const file of files) {
  const r = await runTestFile(`${outdir}/${file}`, 15 * 60_000);
  process.stdout.write(r.out);
  passed += r.passed;
  failed += r.failed;
}
rmSync(outdir, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
