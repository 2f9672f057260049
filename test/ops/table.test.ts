import { readFileSync, readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { KERNELS } from "../../kernels/index.ts";

test("every kernel has a name of its own, in kebab case", () => {
  const names = KERNELS.map((k) => k.name);
  assert.is(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
});

test("every kernel but a view has dispatches", () => {
  for (const k of KERNELS) assert.is(typeof k.plan, k.layout === "view" ? "undefined" : "function", k.name);
});

test("every shader is imported by a kernel, or by the bench that measures peaks with it, and begins by saying what it computes", () => {
  const sources = ["kernels", "bench"]
    .flatMap((folder) => readdirSync(folder, { recursive: true }).map((f) => `${folder}/${String(f)}`))
    .filter((f) => f.endsWith(".ts"));
  const kernels = sources.map((f) => readFileSync(f, "utf8")).join("\n");
  for (const file of [...readdirSync("shaders"), ...readdirSync("shaders/lib").map((f) => `lib/${f}`)]) {
    if (!file.endsWith(".wgsl")) continue;
    assert.ok(kernels.includes(`shaders/${file}"`), `${file} is imported by nothing`);
    assert.match(readFileSync(`shaders/${file}`, "utf8"), /^\/\/ \S/, `${file} begins with no comment`);
  }
});

test.run();
