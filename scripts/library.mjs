// The library as it is published: an entry for each export of package.json, for Node and for browsers, and the parts that are
// loaded when they are first needed.
// A new entry is an export and two files in package.json, its source in tsconfig.types.json, and a budget in test/package/package.test.ts.
import { build } from "esbuild";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";

/** Entries by the name of their file in dist/: "lethe" for ".", "unlearn" for "./unlearn". The source is that of the export's types. */
export function libraryEntries(root) {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const modules = Object.entries(exports).filter(([, target]) => typeof target === "object");
  const sourceOf = (types) => types.replace(/^\.\/dist\/types\//, "").replace(/\.d\.ts$/, ".ts");
  return Object.fromEntries(modules.map(([path, { types }]) => [path === "." ? "lethe" : path.slice(2), sourceOf(types)]));
}

/**
 * Has each of some files import the whole of `main`, so that what `main` holds stays in one file: esbuild cuts shared code by who
 * uses it, into some twenty files, and gzip finds repetitions within a file only (145.8 against 134.0 KB).
 */
const keepWhole = (main, files) => ({
  name: "keep-whole",
  setup(builder) {
    // A module of its own, as bare imports of files without side effects are dropped.
    builder.onResolve({ filter: /^lethe:whole$/ }, () => ({ path: "whole", namespace: "lethe" }));
    const { absWorkingDir: resolveDir } = builder.initialOptions;
    builder.onLoad({ filter: /.*/, namespace: "lethe" }, () => ({ contents: `export * from ${JSON.stringify(main)};`, resolveDir }));
    builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (!files.has(path)) return undefined;
      return { contents: `${readFileSync(path, "utf8")}\nimport "lethe:whole";`, loader: "ts" };
    });
  },
});

/** Builds dist/NAME.js with its parts in dist/node/, and dist/NAME.browser.js with its parts in dist/browser/. */
export async function buildLibrary(root, nodeOptions, browserOptions) {
  const entries = libraryEntries(root);
  const split = { outdir: "dist", splitting: true, metafile: true };
  removeOthers(root, "node", await build({ ...nodeOptions, ...split, entryPoints: entries, chunkNames: "node/[name]-[hash]" }));
  const named = Object.fromEntries(Object.entries(entries).map(([name, source]) => [`${name}.browser`, source]));
  const browser = { ...browserOptions, ...split, entryPoints: named, chunkNames: "browser/[name]-[hash]" };
  const { metafile } = await build({ ...browser, write: false });
  const imports = Object.values(metafile.inputs).flatMap((input) => input.imports);
  const dynamic = imports.filter(({ kind }) => kind === "dynamic-import").map(({ path }) => path);
  const apart = new Set([...dynamic, ...Object.values(entries)].map((path) => join(root, path)));
  const main = join(root, entries.lethe);
  apart.delete(main);
  removeOthers(root, "browser", await build({ ...browser, plugins: [...browserOptions.plugins, keepWhole(main, apart)] }));
}

/** Removes what earlier builds left among the parts. */
function removeOthers(root, folder, { metafile }) {
  const made = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
  for (const file of readdirSync(join(root, "dist", folder))) if (!made.has(file)) rmSync(join(root, "dist", folder, file));
}
