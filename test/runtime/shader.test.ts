import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatCompileMessages } from "../../engine/runtime/compile-messages.ts";
import { expandShader, packParams, reflectShader } from "../../engine/runtime/shader.ts";
import { ShaderCompileError } from "../../engine/runtime/errors.ts";

const test = suite("shader");
const expand = (text: string, defines: Record<string, string | number | boolean> = {}): string =>
  expandShader({ name: "probe", text }, defines);

test("placeholders take numbers, strings and booleans", () => {
  assert.is(expand("a ${N} b ${T}\nc ${F} ${N}", { N: 8, T: "vec4f", F: false }), "a 8 b vec4f\nc false 8");
  assert.is(expand("no defines, a $ sign and {braces}"), "no defines, a $ sign and {braces}");
});

test("conditions keep one branch, nested ones too", () => {
  const text = "x\n#if ${A}\na\n#if ${B}\nab\n#endif\n#elif ${B}\nb\n#else\nneither\n#endif\ny";
  const lines = (defines: Record<string, boolean>): string[] => expand(text, defines).split("\n").filter((l) => l.trim() !== "");
  assert.equal(lines({ A: true, B: true }), ["x", "a", "ab", "y"]);
  assert.equal(lines({ A: true, B: false }), ["x", "a", "y"]);
  assert.equal(lines({ A: false, B: true }), ["x", "b", "y"]);
  assert.equal(lines({ A: false, B: false }), ["x", "neither", "y"]);
});

test("a string define is expanded itself, conditions included, before it is inserted", () => {
  const snippet = "fn f() -> ${T} {\n#if ${FAST}\n  return 1;\n#else\n  return 2;\n#endif\n}";
  assert.match(
    expand("${SNIPPET}\nmain ${T}", { SNIPPET: snippet, T: "f32", FAST: true }),
    /^fn f\(\) -> f32 \{\n\s*return 1;\s*\}\nmain f32$/,
  );
  assert.is(expand("${A}", { A: "${B}!", B: "${C}?", C: 3 }), "3?!");
});

test("elements of a storage variable are as wide as asked for, and half as wide where it holds halves", () => {
  const text = "${x as vec4f} ${y as vec2f} ${x as f32} ${x as Pack} ${y as Pack}";
  const widths = (vec4: boolean, ...halves: string[]): string =>
    expandShader({ name: "probe", text: `#if \${VEC4}\n#endif\n${text}` }, { VEC4: vec4 }, halves).trim();
  assert.is(widths(true), "vec4f vec2f f32 Pack Pack");
  assert.match(widths(true, "x"), /^enable f16;\s+vec4h vec2f f16 vec4h Pack$/);
  assert.match(widths(false, "x", "y"), /^enable f16;\s+vec4h vec2h f16 f16 f16$/);
});

test("an unknown name is an error with shader, line and the known names", () => {
  assert.throws(
    () => expand("one\ntwo ${A}\nthree ${MISSING}", { A: 1 }),
    /shader "probe", line 3: unknown name \$\{MISSING\}; defined: A/,
  );
  assert.throws(() => expand("\n${A}", { A: "x\n${MISSING}" }), /shader "probe", define A, line 2: unknown name \$\{MISSING\}/);
  assert.throws(() => expand("${toString}"), /unknown name \$\{toString\}; defined: none/);
});

test("a name used only in a branch not taken still counts as known and used", () => {
  assert.match(expand("#if ${A}\n${B}\n#endif\nz", { A: false, B: 1 }), /^\s*z$/);
});

test("a define that nothing uses is an error", () => {
  assert.throws(
    () => expand("x ${A}", { A: 1, OLD: 2, GONE: 3 }),
    (e: Error) =>
      e instanceof ShaderCompileError && /shader "probe" has no \$\{OLD\}, \$\{GONE\}, which its kernel defines/.test(e.message),
  );
});

test("a define that holds itself, and unbalanced conditions, are errors naming the shader", () => {
  assert.throws(() => expand("${A}", { A: "${B}", B: "${A}" }), /holds itself \(A > B > A/);
  assert.throws(() => expand("#if ${A}\nx", { A: true }), /shader "probe": Mismatched #if/);
  assert.throws(() => expand("x\n#endif"), /shader "probe": #endif not preceeded/);
  assert.throws(() => expand("#if A\nx\n#endif"), /shader "probe": #if must be immediately followed/);
});

test("repeated lines are written out, nested ones too, with the numbers in names", () => {
  const text = "#unroll r < ${R}\nvar s$r: f32;\n  #unroll k < ${K}\nlet a$r_$k = $k * ${K}u;\n#endunroll\n#endunroll\nend";
  assert.is(
    expand(text, { R: 2, K: 2 }),
    "var s0: f32;\nlet a0_0 = 0 * 2u;\nlet a0_1 = 1 * 2u;\nvar s1: f32;\nlet a1_0 = 0 * 2u;\nlet a1_1 = 1 * 2u;\nend",
  );
  assert.is(expand("#unroll i < 0\n$i\n#endunroll\n$index"), "$index");
  assert.is(expand("#unroll 1 <= i < ${R}\n$i\n#endunroll\n", { R: 3 }), "1\n2\n");
  for (const wrong of ["#unroll i < 2\nx\n", "x\n#endunroll\n", "#unroll i < N\nx\n#endunroll\n"]) {
    assert.throws(() => expand(wrong), /shader "probe": "#(end)?unroll.*" has no other end/);
  }
});

const shader = `
// @group(0) @binding(7) var<storage, read> commented: array<f32>;
/* struct Params { wrong: u32 } */
struct Other { a: vec4f, }
struct Params {
  count: u32, // how many
  offset: i32,
  scale: f32,
  rows: u32,
  last: f32
}
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(0)
var<storage, read> x : array<vec4f>;
@binding(1) @group(0) var <storage> b: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
var<workgroup> tile: array<f32, 64>;
var<private> z: f32;
`;

test("reflection finds storage variables by binding, and the fields of the uniform", () => {
  const { storage, uniform } = reflectShader(shader);
  assert.equal(storage, [
    { name: "x", binding: 0, writable: false },
    { name: "b", binding: 1, writable: false },
    { name: "y", binding: 2, writable: true },
  ]);
  assert.equal(uniform, {
    binding: 3,
    fields: [
      { name: "count", type: "u32" },
      { name: "offset", type: "i32" },
      { name: "scale", type: "f32" },
      { name: "rows", type: "u32" },
      { name: "last", type: "f32" },
    ],
    byteLength: 32,
  });
  assert.equal(reflectShader("fn main() {}"), { storage: [] });
});

test("reflection refuses what it cannot bind", () => {
  assert.throws(() => reflectShader("@group(1) @binding(0) var<storage> x: array<f32>;"), /variable "x" needs @group\(0\) @binding\(N\)/);
  assert.throws(() => reflectShader("@group(0) @binding(0) var<uniform> p: P;"), /type "P", which is not a struct/);
  assert.throws(() => reflectShader("struct P { a: vec2f } @group(0) @binding(0) var<uniform> p: P;"), /struct P: "a: vec2f" is not/);
  assert.throws(
    () => reflectShader("struct P { a: u32 } @group(0) @binding(0) var<uniform> p: P; @group(0) @binding(1) var<uniform> q: P;"),
    /"q" is a second uniform/,
  );
});

test("params are packed in declared order, padded to 16 bytes", () => {
  const { fields, byteLength } = reflectShader(shader).uniform!;
  const bytes = packParams(fields, { last: -0.5, rows: 4294967295, scale: 0.1, offset: -7, count: 3 });
  assert.is(bytes.byteLength, byteLength);
  const view = new DataView(bytes);
  assert.equal(
    [view.getUint32(0, true), view.getInt32(4, true), view.getFloat32(8, true), view.getUint32(12, true), view.getFloat32(16, true)],
    [3, -7, Math.fround(0.1), 4294967295, -0.5],
  );
  assert.equal(
    [...new Uint8Array(bytes, 20)],
    Array.from({ length: 12 }, () => 0),
  );
});

test("params that do not fit are errors naming the field", () => {
  const fields = [{ name: "n", type: "u32" }, { name: "i", type: "i32" }, { name: "x", type: "f32" }] as const;
  const good = { n: 1, i: 1, x: 1 };
  assert.throws(() => packParams(fields, { n: 1, i: 1 }), /no value for "x"/);
  assert.throws(() => packParams(fields, { ...good, y: 2 }), /no field y; it has n, i, x/);
  for (const n of [-1, 1.5, 2 ** 32, Number.NaN, Infinity]) {
    assert.throws(() => packParams(fields, { ...good, n }), /"n" must be a whole number from 0 to 4294967295 \(u32\)/);
  }
  for (const i of [2 ** 31, 0.5]) assert.throws(() => packParams(fields, { ...good, i }), /"i" must be a whole number/);
  assert.throws(() => packParams(fields, { ...good, x: Number.NaN }), /"x" is NaN/);
});

test("compile messages show line:col and the numbered source around", () => {
  const text = Array.from({ length: 12 }, (_, i) => `line ${i + 1};`).join("\n");
  assert.is(
    formatCompileMessages(text, [{ type: "error", lineNum: 10, linePos: 6, message: "unresolved value" }]),
    [
      "error at 10:6: unresolved value",
      "   7 | line 7;",
      "   8 | line 8;",
      "   9 | line 9;",
      "> 10 | line 10;",
      "     |      ^",
      "  11 | line 11;",
      "  12 | line 12;",
    ].join("\n"),
  );
  assert.is(formatCompileMessages(text, [{ type: "warning", lineNum: 0, linePos: 0, message: "no place" }]), "warning: no place");
});

test.run();
