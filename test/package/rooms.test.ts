// The shape of the house: which room may use which, no circles of imports, no crowded folder (scripts/rooms.mjs), no long line.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

const TOPS = ["kernels", "engine", "tokenizer", "bench", "cli", "web"];
const MAX_COLUMNS = 140;

interface House {
  readonly rooms: readonly { readonly name: string; readonly files: number; readonly imports: readonly string[] }[];
  readonly files: number;
  readonly imports: number;
  readonly faults: Readonly<Record<string, readonly string[]>>;
}

test("no circle of imports, types included; none runs upward; no folder is crowded; only engine/platform knows Node", () => {
  const house = JSON.parse(execFileSync(process.execPath, ["scripts/rooms.mjs", "--json"], { encoding: "utf8" })) as House;
  assert.ok(house.files > 300 && house.imports > 1000, `${house.files} files and ${house.imports} imports were found`);
  for (const [what, found] of Object.entries(house.faults)) assert.equal(found, [], what);
  assert.equal(house.rooms.find((room) => room.name === "kernels")!.imports, ["shaders"]);
});

test("each of these is found where it is", () => {
  const folder = mkdtempSync(join(tmpdir(), "lethe-rooms-"));
  for (const top of TOPS) mkdirSync(join(folder, top), { recursive: true });
  for (const room of ["runtime", "nn"]) mkdirSync(join(folder, "engine", room));
  mkdirSync(join(folder, "cli", "many"));
  writeFileSync(join(folder, "engine/nn/a.ts"), 'import type {\n  B,\n} from "./b.ts";\nimport fs from "node:fs";\n');
  writeFileSync(join(folder, "engine/nn/b.ts"), 'const a = await import("./a.ts");\nexport * from "./gone.ts";\n');
  writeFileSync(join(folder, "engine/runtime/c.ts"), 'export { a } from "../nn/a.ts";\n');
  writeFileSync(join(folder, "engine/stray.ts"), "");
  for (let i = 0; i < 17; i++) writeFileSync(join(folder, `cli/many/${i}.ts`), "");
  cpSync("scripts/rooms.mjs", join(folder, "rooms.mjs"));
  const { status, stdout } = spawnSync(process.execPath, [resolve(folder, "rooms.mjs"), "--json"], { cwd: folder, encoding: "utf8" });
  assert.is(status, 1);
  assert.equal(Object.values((JSON.parse(stdout) as House).faults), [
    ["engine/nn/a.ts -> engine/nn/b.ts -> engine/nn/a.ts"],
    ["engine/runtime/c.ts imports engine/nn/a.ts"],
    ["engine/stray.ts"],
    ["engine/nn/b.ts imports engine/nn/gone.ts"],
    ["cli/many holds 17"],
    ["engine/nn/a.ts imports node:fs"],
  ]);
  rmSync(folder, { recursive: true });
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
