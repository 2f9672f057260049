// The import graph of the house, read from the sources: every room with its files and the rooms that it imports, then what breaks the
// rules: circles, imports that run upward, crowded folders. Exits 1 if anything does.
//   node scripts/rooms.mjs [--json]
import { readFileSync, readdirSync } from "node:fs";
import { posix } from "node:path";

/** From the bottom up: a file may import from its own room and from those listed before it. `engine` itself is the public API. */
const ROOMS = [
  "shaders", "tokenizer", "engine/formats", "kernels", "engine/runtime", "engine/options", "engine/platform", "engine/nn",
  "engine/diffusion", "engine/vision", "engine/train", "engine/loading", "engine/metrics", "engine/attack", "engine/unlearn", "engine/run",
  "engine/verify", "engine", "bench", "cli", "web",
];
/** Rooms that import from no other. */
const LEAVES = ["shaders", "tokenizer", "engine/formats"];
const TOPS = ["kernels", "engine", "tokenizer", "bench", "cli", "web"];
const MAX_FILES = 16;
/** One file per op and one per shader, however many there are. */
const UNCROWDED = /^(kernels|shaders)(\/|$)/;
const IMPORT = /(?:^|[;\s])(?:import|export)\b[^"';]*?\bfrom\s*"([^"]+)"|\bimport\s*\(\s*"([^"]+)"\s*\)|^import\s+"([^"]+)"/gm;

/** Paths of what a source file imports, types included, as written. */
function importsOf(text) {
  return [...text.matchAll(IMPORT)].map(([, from, dynamic, bare]) => from ?? dynamic ?? bare);
}

function roomOf(file) {
  return ROOMS.filter((room) => file.startsWith(`${room}/`)).toSorted((a, b) => b.length - a.length)[0] ?? "";
}

function circlesOf(files, arrows) {
  const [visited, path, circles] = [new Set(), [], []];
  const visit = (file) => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file].join(" -> "));
    if (visited.has(file)) return;
    visited.add(file);
    path.push(file);
    for (const arrow of arrows) if (arrow.file === file && files.has(arrow.target)) visit(arrow.target);
    path.pop();
  };
  for (const file of files.keys()) visit(file);
  return circles;
}

const files = new Map();
for (const top of TOPS) {
  for (const name of readdirSync(top, { recursive: true }).map(String)) {
    const file = `${top}/${name.replaceAll("\\", "/")}`;
    if (file.endsWith(".ts") && !file.endsWith(".d.ts")) files.set(file, importsOf(readFileSync(file, "utf8")));
  }
}
const arrows = [...files].flatMap(([file, imports]) =>
  imports.filter((i) => i.startsWith(".")).map((i) => ({ file, target: posix.normalize(posix.join(posix.dirname(file), i)) })),
);
const told = ({ file, target }) => `${file} imports ${target}`;
const folders = new Map();
for (const file of files.keys()) folders.set(posix.dirname(file), (folders.get(posix.dirname(file)) ?? 0) + 1);
const shared = [...files].filter(([file]) => /^(engine|kernels|tokenizer)\//.test(file) && !file.startsWith("engine/platform/"));

const house = {
  rooms: ROOMS.map((name) => ({
    name,
    files: [...files.keys()].filter((file) => roomOf(file) === name).length,
    imports: [...new Set(arrows.filter(({ file }) => roomOf(file) === name).map(({ target }) => roomOf(target)))]
      .filter((room) => room !== name && room !== "")
      .toSorted((a, b) => ROOMS.indexOf(a) - ROOMS.indexOf(b)),
  })),
  files: files.size,
  imports: arrows.length,
  faults: {
    "circles of imports": circlesOf(files, arrows),
    "imports that run upward": arrows
      .filter(({ file, target }) => {
        const [from, to] = [roomOf(file), roomOf(target)];
        return to !== "" && from !== to && (LEAVES.includes(from) || ROOMS.indexOf(from) < ROOMS.indexOf(to));
      })
      .map(told),
    "files in no room": [...files.keys()].filter((file) => ["", "engine"].includes(roomOf(file)) && file !== "engine/index.ts"),
    "imports of what is not there": arrows.filter(({ target }) => target.endsWith(".ts") && !files.has(target)).map(told),
    [`folders of more than ${MAX_FILES} files`]: [...folders]
      .filter(([folder, count]) => count > MAX_FILES && !UNCROWDED.test(folder))
      .map(([folder, count]) => `${folder} holds ${count}`),
    // Only engine/platform knows Node, of all that runs in a page too; the public API chooses by #platform.
    "Node in rooms that a page shares": shared
      .flatMap(([file, imports]) => imports.filter((i) => i.startsWith("node:") || i === "#platform").map((i) => `${file} imports ${i}`))
      .filter((found) => found !== "engine/index.ts imports #platform"),
  },
};

if (process.argv.includes("--json")) console.log(JSON.stringify(house));
else {
  for (const { name, files: count, imports } of house.rooms.toReversed()) {
    if (count > 0) console.log(`${name.padEnd(16)} ${String(count).padStart(3)} files -> ${imports.join(", ") || "nothing"}`);
  }
  console.log(`${house.files} files, ${house.imports} imports between them`);
  for (const [what, found] of Object.entries(house.faults)) console.log([`${found.length} ${what}`, ...found].join("\n  "));
}
if (Object.values(house.faults).some((found) => found.length > 0)) process.exitCode = 1;
