// Bundles the command line, the library (for Node and for browsers, with types) and the page into dist/.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { assetList } from "./assets.mjs";
import { buildLibrary } from "./library.mjs";
import { linkBin } from "./link-bin.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** "./client.inline" is the module client.ts beside it, bundled for browsers, as text: a script that a report carries in itself. */
const inlineScripts = {
  name: "inline-scripts",
  setup(builder) {
    builder.onResolve({ filter: /\.inline$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, path.replace(/\.inline$/, ".ts")),
      namespace: "inline",
    }));
    builder.onLoad({ filter: /./, namespace: "inline" }, async ({ path }) => {
      const options = { bundle: true, minify: true, format: "iife", target: browserTargets, write: false, metafile: true };
      const { outputFiles, metafile } = await build({ ...options, absWorkingDir: root, entryPoints: [path] });
      const watchFiles = Object.keys(metafile.inputs).map((name) => join(root, name));
      return { contents: outputFiles[0].text.trim(), loader: "text", watchFiles };
    });
  },
};

/**
 * pdfkit as it is built for browsers: Node's reads its fonts' measures from files beside it, which a bundle has not. Figures use the two
 * fonts that every reader has, so fontkit, 1.9 MB, stays out.
 */
const smallPdf = {
  name: "small-pdf",
  setup(builder) {
    builder.onResolve({ filter: /^pdfkit(\/standard-fonts\/\w+)?$/ }, ({ path }) => {
      const file = path === "pdfkit" ? "pdfkit.browser.mjs" : path.replace("pdfkit/", "") + ".mjs";
      return { path: join(root, "node_modules/pdfkit/js", file), sideEffects: false };
    });
    builder.onResolve({ filter: /^fontkit$/ }, ({ path }) => ({ path, namespace: "left-out" }));
    const contents = 'export const create = () => { throw new Error("only standard fonts are in this build"); };';
    builder.onLoad({ filter: /./, namespace: "left-out" }, () => ({ contents }));
  },
};

const browserTargets = ["chrome121", "firefox141", "safari18"];

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  loader: { ".wgsl": "text", ".css": "text", ".wasm": "binary" },
  sourcemap: "linked",
  logLevel: "warning",
  plugins: [inlineScripts],
};

export const nodeOptions = {
  ...common,
  plugins: [...common.plugins, smallPdf],
  platform: "node",
  target: "node20",
  external: ["webgpu", "@sparticuz/chromium"],
  // cli-progress and others are CommonJS: their require() of Node's own modules needs a real require.
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
};

/**
 * Shaders without comments, indentation and the spaces around signs that are not part of a name: a quarter of the browser bundle otherwise.
 * Lines stay, so that errors name them.
 */
const smallShaders = {
  name: "small-shaders",
  setup(builder) {
    builder.onLoad({ filter: /\.wgsl$/ }, ({ path }) => {
      const lines = readFileSync(path, "utf8")
        .split("\n")
        .map((line) => line.replace(/\/\/.*$/, "").trim())
        .map((line) => (line.startsWith("#") ? line : line.replace(/ *([=+*/(),;:<>|{}[\]]) */g, "$1")));
      return { contents: lines.filter(Boolean).join("\n"), loader: "text" };
    });
  },
};

/**
 * Those of the shaders that are used come first, side by side: gzip looks back 32 KB only, and finds 3 KB less to say of shaders strewn
 * among modules.
 */
const shaders = readdirSync(join(root, "shaders"), { recursive: true })
  .map(String)
  .filter((f) => f.endsWith(".wgsl"))
  .toSorted()
  .map((f) => join(root, "shaders", f));

const browser = {
  ...common,
  platform: "browser",
  target: browserTargets,
  minify: true,
  plugins: [...common.plugins, smallShaders],
  inject: shaders,
};

export async function buildProduct() {
  await build({
    ...nodeOptions,
    entryPoints: { cli: "cli/main.ts" },
    outdir: "dist",
    banner: { js: "#!/usr/bin/env node\n" + nodeOptions.banner.js },
  });
  chmodSync(join(root, "dist/cli.js"), 0o755);
  await buildLibrary(root, nodeOptions, browser);
  await buildPage();
}

/** dist/web: the page's files, to be served beside the folder assets/. */
async function buildPage() {
  await build({ ...browser, entryPoints: { page: "web/page/main.ts", worker: "web/worker/main.ts" }, outdir: "dist/web" });
  for (const name of ["index.html", "style.css", "icon.svg", "README.md"]) cpSync(join(root, "web", name), join(root, "dist/web", name));
  writeFileSync(join(root, "dist/web/assets.json"), JSON.stringify(assetList(join(root, "assets"))));
}

/** dist/types: declarations of the library's entries and all they name. Left out, saying so, where TypeScript is not installed. */
export function buildTypes() {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  if (!existsSync(compiler)) {
    console.error("dist/types is left out: typescript, a development dependency, is not installed");
    return;
  }
  const types = join(root, "dist/types");
  rmSync(types, { recursive: true, force: true });
  try {
    execFileSync(process.execPath, [compiler, "-p", "tsconfig.types.json"], { cwd: root, stdio: "inherit" });
  } catch {
    // Declarations are written all the same; what is built can be run, and "npm run check" is what refuses such sources.
    console.error("the sources have type errors: dist/types may be wrong");
  }
  // Consumers resolve ".js" under every module setting, ".ts" only under some.
  cpSync(join(root, "scripts/webgpu-names.d.ts"), join(types, "webgpu-names.d.ts"));
  const device = join(types, "engine/runtime/device.d.ts");
  if (existsSync(device)) writeFileSync(device, `/// <reference path="../../webgpu-names.d.ts" />\n${readFileSync(device, "utf8")}`);
  for (const name of readdirSync(types, { recursive: true }).map(String).filter((n) => n.endsWith(".d.ts"))) {
    const text = readFileSync(join(types, name), "utf8");
    writeFileSync(join(types, name), text.replace(/((?:from|import)\s*\(?\s*"\.{1,2}\/[^"]+)\.ts"/g, '$1.js"'));
  }
}

export function testFiles() {
  return readdirSync(join(root, "test"), { recursive: true })
    .map(String)
    .filter((f) => f.endsWith(".test.ts"))
    .map((f) => f.replaceAll("\\", "/"))
    .toSorted();
}

const uvuOnly = join(root, "scripts/uvu-only.mjs");

/** Puts scripts/uvu-only.mjs in the place of uvu. */
const selectCases = {
  name: "select-cases",
  setup(builder) {
    builder.onResolve({ filter: /^uvu$/ }, ({ importer }) => (importer === uvuOnly ? undefined : { path: uvuOnly }));
  },
};

/**
 * Bundles the named test files (paths below test/) into `outdir`, sharing code by splitting. Given `only`, they run no cases but those
 * whose name contains it.
 */
export async function buildTests(files, outdir, only) {
  rmSync(join(root, outdir), { recursive: true, force: true });
  const external = [...nodeOptions.external, "playwright-core"];
  const selection = only === undefined ? {} : { define: { ONLY: JSON.stringify(only) }, plugins: [...nodeOptions.plugins, selectCases] };
  await build({
    ...nodeOptions,
    ...selection,
    external,
    entryPoints: files.map((f) => "test/" + f),
    outbase: "test",
    outdir,
    splitting: true,
  });
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  await buildProduct();
  linkBin(root);
  buildTypes();
}
