// Runs every test file in a process of its own and adds up what uvu reports.
//   node scripts/test.mjs [PART OF A PATH | PATH]... [--only "PART OF A CASE'S NAME"]
// A part of a path is looked for below test/: "ops/norm". A path is as people type it: "test/ops/norm.test.ts", "./test/ops", or absolute.
// A file that crashes, hangs or reports nothing counts as one failure, so nothing is lost silently.
import { existsSync, rmSync } from "node:fs";
import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildProduct, buildTests, testFiles } from "./build.mjs";
import { runTestFile } from "./run-test-file.mjs";

function usageError(message) {
  console.error(message);
  process.exit(2);
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({ options: { only: { type: "string" } }, allowPositionals: true });
    return { only: values.only, wanted: positionals };
  } catch (error) {
    return usageError(
      `${error.message}\nusage: node scripts/test.mjs [part of a path below test/, or a path]... [--only "part of a case's name"]`,
    );
  }
}

/** Whether an argument means a file, which is given by its path below test/. */
function matcher(argument) {
  const path = resolve(argument);
  const below = relative(resolve("test"), path).replaceAll("\\", "/");
  const typed = argument.startsWith(".") || argument.startsWith("test/") || argument.startsWith("test\\") || path === argument;
  if (!typed) return (file) => file.includes(argument);
  if (!existsSync(path)) usageError(`no such file or folder: ${argument}`);
  return (file) => below === "" || file === below || file.startsWith(`${below}/`);
}

const { only, wanted } = readArguments();
const matchers = wanted.map((argument) => ({ argument, fits: matcher(argument) }));
const all = testFiles();
for (const { argument, fits } of matchers) if (!all.some(fits)) usageError(`no test file matches ${argument}`);
const files = all.filter((file) => matchers.length === 0 || matchers.some(({ fits }) => fits(file)));
const outdir = `dist/test/${process.pid}`; // of its own, so that two runs at once do not disturb each other
/** ops/bounds compiles every variant twice: where none was compiled before, 12 minutes on one core, and 29 on a slower one in use. */
const TIMEOUT_MS = 45 * 60_000;

if (wanted.length === 0 || files.some((f) => f.startsWith("cli/"))) await buildProduct();
await buildTests(files, outdir, only);
process.on("exit", () => rmSync(outdir, { recursive: true, force: true }));
let passed = 0, failed = 0, skipped = 0;
for (const file of files) {
  const r = await runTestFile(`${outdir}/${file}`, TIMEOUT_MS, only !== undefined);
  passed += r.passed;
  failed += r.failed;
  skipped += r.skipped;
  if (r.none) continue;
  const verdict = r.failed ? "FAILED" : "ok";
  console.log(`${verdict.padEnd(7)} ${file.padEnd(44)} ${String(r.passed).padStart(4)} passed ${r.seconds.toFixed(1).padStart(7)} s`);
  if (r.failed) console.log(r.out, r.signal ? `killed by ${r.signal}` : `exit code ${r.code}`);
  else if (process.env.VERBOSE) console.log(r.out);
}
if (only !== undefined && passed + failed + skipped === 0) usageError(`no case of these files has ${JSON.stringify(only)} in its name`);
console.log(skipped ? `${passed} passed, ${failed} failed, ${skipped} skipped` : `${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
