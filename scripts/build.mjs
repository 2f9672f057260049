// Bundles the command line, the library and, with --tests, every test file into dist/.
import { build } from "esbuild";
import { chmodSync, readdirSync, rmSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  loader: { ".wgsl": "text", ".css": "text" },
  external: ["webgpu", "@sparticuz/chromium"],
  // pngjs and cli-progress are CommonJS: their require() of Node's own modules needs a real require.
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  sourcemap: "linked",
  logLevel: "warning",
};

export async function buildProduct() {
  await build({ ...common, entryPoints: { cli: "cli/main.ts" }, outdir: "dist", banner: { js: "#!/usr/bin/env node\n" + common.banner.js } });
  chmodSync(join(root, "dist/cli.js"), 0o755);
  await build({ ...common, entryPoints: { lethe: "engine/index.ts" }, outdir: "dist" });
}

export function testFiles() {
  return readdirSync(join(root, "test"), { recursive: true })
    .map(String)
    .filter((f) => f.endsWith(".test.ts"))
    .map((f) => f.replaceAll("\\", "/"))
    .toSorted();
}

/** Bundles the named test files (paths below test/) into `outdir`, sharing code by splitting. */
export async function buildTests(files, outdir) {
  rmSync(join(root, outdir), { recursive: true, force: true });
  await build({ ...common, entryPoints: files.map((f) => "test/" + f), outbase: "test", outdir, splitting: true });
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  await buildProduct();
}
