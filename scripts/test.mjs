// Runs every test file (or those whose path contains an argument) in a process of its own and adds up what uvu reports.
// A file that crashes, hangs or reports nothing counts as one failure, so nothing is lost silently.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { buildTests, buildProduct, testFiles } from "./build.mjs";

const wanted = process.argv.slice(2);
const files = testFiles().filter((f) => wanted.length === 0 || wanted.some((w) => f.includes(w)));
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(", ")}`);
  process.exit(2);
}
const outdir = `dist/test/${process.pid}`; // of its own, so that two runs at once do not disturb each other
const TIMEOUT_MS = 10 * 60_000;

function runFile(file) {
  return new Promise((done) => {
    const started = Date.now();
    const child = spawn(process.execPath, ["--enable-source-maps", `${outdir}/${file.replace(/\.ts$/, ".js")}`], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, FORCE_COLOR: "0" } });
    let out = "";
    child.stdout.on("data", (d) => (out += d));
    child.stderr.on("data", (d) => (out += d));
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const total = Number(/Total:\s+(\d+)/.exec(out)?.[1] ?? 0);
      const passed = Number(/Passed:\s+(\d+)/.exec(out)?.[1] ?? 0);
      const skipped = Number(/Skipped:\s+(\d+)/.exec(out)?.[1] ?? 0);
      let failed = total - passed - skipped;
      if (total === 0 || (code !== 0 && failed === 0)) failed = Math.max(1, failed);
      done({ file, passed, failed, skipped, out, code, signal, seconds: (Date.now() - started) / 1000 });
    });
  });
}

if (wanted.length === 0 || files.some((f) => f.startsWith("cli/"))) await buildProduct();
await buildTests(files, outdir);
process.on("exit", () => rmSync(outdir, { recursive: true, force: true }));
let passed = 0, failed = 0, skipped = 0;
for (const file of files) {
  const r = await runFile(file);
  passed += r.passed;
  failed += r.failed;
  skipped += r.skipped;
  const verdict = r.failed ? "FAILED" : "ok";
  console.log(`${verdict.padEnd(7)} ${file.padEnd(44)} ${String(r.passed).padStart(4)} passed ${r.seconds.toFixed(1).padStart(7)} s`);
  if (r.failed) console.log(r.out, r.signal ? `killed by ${r.signal}` : `exit code ${r.code}`);
  else if (process.env.VERBOSE) console.log(r.out);
}
console.log(skipped ? `${passed} passed, ${failed} failed, ${skipped} skipped` : `${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
