// The shape of the house: which room may use which, no circles of imports, no crowded folder, no long line. Read from the sources.
import { readFileSync, readdirSync } from "node:fs";
import { posix } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

/** From the bottom up: a file may import from its own room and from those listed before it. `engine` itself is the public API. */
const ROOMS = [
  "shaders",
  "tokenizer",
  "engine/formats",
  "kernels",
  "engine/runtime",
  "engine/options",
  "engine/platform",
  "engine/nn",
  "engine/diffusion",
  "engine/vision",
  "engine/train",
  "engine/loading",
  "engine/metrics",
  "engine/attack",
  "engine/unlearn",
  "engine/run",
  "engine/verify",
  "engine",
  "bench",
  "cli",
  "web",
];
/** Rooms that import from no other. */
const LEAVES = ["shaders", "tokenizer", "engine/formats"];
const TOPS = ["kernels", "engine", "tokenizer", "bench", "cli", "web"];
const MAX_FILES = 16;
const MAX_COLUMNS = 140;
/** One file per op and one per shader, however many there are. */
const UNCROWDED = /^(kernels|shaders)(\/|$)/;

const IMPORT = /(?:^|[;\s])(?:import|export)\b[^"';]*?\bfrom\s*"([^"]+)"|\bimport\s*\(\s*"([^"]+)"\s*\)|^import\s+"([^"]+)"/gm;

/** Paths of what a source file imports, as written. */
function importsOf(text: string): string[] {
  return [...text.matchAll(IMPORT)].map(([, from, dynamic, bare]) => (from ?? dynamic ?? bare)!);
}

function sources(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const top of TOPS) {
    for (const name of readdirSync(top, { recursive: true }).map(String)) {
      const file = `${top}/${name.replaceAll("\\", "/")}`;
      if (!file.endsWith(".ts") || file.endsWith(".d.ts")) continue;
      found.set(file, importsOf(readFileSync(file, "utf8")));
    }
  }
  return found;
}

function roomOf(file: string): string {
  return ROOMS.filter((room) => file.startsWith(`${room}/`)).toSorted((a, b) => b.length - a.length)[0] ?? "";
}

const files = sources();
const arrows = [...files].flatMap(([file, imports]) =>
  imports.filter((i) => i.startsWith(".")).map((i) => ({ file, target: posix.normalize(posix.join(posix.dirname(file), i)) })),
);

test("imports are read as they are written", () => {
  const text =
    'import { a } from "./a.ts";\nimport type {\n  B,\n} from "../b.ts";\nexport { c } from "./c.ts";\nexport * from "./d.ts";\nconst e ' +
      '= await import("./e.ts");\nimport "./f.ts";\n';
  assert.equal(importsOf(text), ["./a.ts", "../b.ts", "./c.ts", "./d.ts", "./e.ts", "./f.ts"]);
  assert.ok(files.size > 300 && arrows.length > 1000, `${files.size} files and ${arrows.length} imports were found`);
});

test("every file is in a room, and imports what is there", () => {
  const homeless = [...files.keys()].filter((file) => roomOf(file) === "" || (roomOf(file) === "engine" && file !== "engine/index.ts"));
  assert.equal(homeless, [], "files in no room of ROOMS");
  assert.equal(
    arrows.filter(({ target }) => target.endsWith(".ts") && !files.has(target)).map(({ file, target }) => `${file} imports ${target}`),
    [],
  );
});

test("arrows run downward", () => {
  const upward = arrows.filter(({ file, target }) => {
    const [from, to] = [roomOf(file), roomOf(target)];
    return to !== "" && from !== to && (LEAVES.includes(from) || ROOMS.indexOf(from) < ROOMS.indexOf(to));
  });
  assert.equal(upward.map(({ file, target }) => `${file} imports ${target}`), []);
});

test("no circle of imports, types included", () => {
  const [visited, path, circles] = [new Set<string>(), [] as string[], [] as string[]];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file].join(" -> "));
    if (visited.has(file)) return;
    visited.add(file);
    path.push(file);
    for (const arrow of arrows) if (arrow.file === file && files.has(arrow.target)) visit(arrow.target);
    path.pop();
  };
  for (const file of files.keys()) visit(file);
  assert.equal(circles, []);
});

test("only engine/platform knows Node, of all that runs in a page too", () => {
  const shared = [...files].filter(([file]) => /^(engine|kernels|tokenizer)\//.test(file) && !file.startsWith("engine/platform/"));
  const knowing = shared.flatMap(([file, imports]) =>
    imports.filter((i) => i.startsWith("node:") || i === "#platform").map((i) => `${file} imports ${i}`),
  );
  assert.equal(knowing, ["engine/index.ts imports #platform"]);
});

test(`no folder holds more than ${MAX_FILES} source files`, () => {
  const counts = new Map<string, number>();
  for (const file of files.keys()) counts.set(posix.dirname(file), (counts.get(posix.dirname(file)) ?? 0) + 1);
  const crowded = [...counts].filter(([folder, count]) => count > MAX_FILES && !UNCROWDED.test(folder));
  assert.equal(crowded.map(([folder, count]) => `${folder} holds ${count}`), []);
});

test(`no line is longer than ${MAX_COLUMNS} columns`, () => {
  const tops = [...TOPS, "shaders", "test", "scripts"];
  const all = tops.flatMap((top) => readdirSync(top, { recursive: true }).map((name) => `${top}/${String(name)}`));
  const long = all.filter((file) => /\.(ts|js|mjs|wgsl|css|html|sh)$/.test(file)).flatMap((file) => {
    const columns = readFileSync(file, "utf8").split("\n").map((line) => [...line].length);
    return columns.flatMap((count, i) => (count > MAX_COLUMNS ? [`${file}:${i + 1} has ${count}`] : []));
  });
  assert.equal(long, []);
});

test.run();
