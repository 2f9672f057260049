import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import type { Defines, ShaderSource } from "../../kernels/kernel.ts";
import { ShaderCompileError } from "./errors.ts";

export type ScalarType = "u32" | "i32" | "f32";

export interface ParamField {
  readonly name: string;
  readonly type: ScalarType;
}

export interface ReflectedShader {
  /** Every `var<storage, ...>`, by binding number. */
  readonly storage: readonly { readonly name: string; readonly binding: number; readonly writable: boolean }[];
  /** The one `var<uniform>`, a struct of scalars, if there is one. */
  readonly uniform?: { readonly binding: number; readonly fields: readonly ParamField[]; readonly byteLength: number };
}

const PLACEHOLDER = /\$\{([^}]*)\}/;
/** The innermost repeated lines. */
const UNROLL = /^[ \t]*#unroll (?:(\d+) <= )?(\w+) < (\d+)[ \t]*\n((?:(?![ \t]*#unroll ).*\n)*?)[ \t]*#endunroll[ \t]*\n/m;
/** The type that elements of a storage variable are kept in: `${x as vec4f}`. */
const STORED = /^(\w+) as (\w+)$/;
/** A snippet may hold snippets; deeper than this is a define that holds itself. */
const MAX_DEPTH = 8;

/**
 * The shader's text with every `${NAME}` filled in and every `#if ${NAME}` decided. A string define may itself hold placeholders and
 * conditions (a shared snippet). Lines from `#unroll i < ${COUNT}` to `#endunroll` are then written out, once for each i from 0 on (from 1
 * on after `#unroll 1 <= i < ${COUNT}`), with `$i` its number: variables of their own stay in registers, elements of an array that a loop
 * counts through may not. `${x as TYPE}` is TYPE, or the half as wide one for a storage variable x of `halves`; a TYPE that the shader
 * names itself is a vec4f with VEC4, otherwise an f32.
 * @throws ShaderCompileError for an unknown name (with its line), a define nothing uses, or unbalanced conditions or repetitions.
 */
export function expandShader(source: ShaderSource, defines: Defines, halves: readonly string[] = []): string {
  const used = new Set<string>();
  const text = (halves.length > 0 ? "enable f16;\n" : "") + expand(source.name, source.text, { defines, halves }, used, []);
  const unused = Object.keys(defines).filter((name) => !used.has(name));
  if (unused.length > 0) {
    throw new ShaderCompileError(`shader "${source.name}" has no \${${unused.join("}, ${")}}, which its kernel defines`);
  }
  return unroll(source.name, text);
}

/** The same shader with the size of its subgroups stated (`subgroup-size-control`), if it has any. @param lanes 0: nothing is stated */
export function withSubgroupSize(text: string, lanes: number): string {
  if (lanes === 0 || !/^\s*enable subgroups;/m.test(text)) return text;
  return `enable subgroup_size_control;\n${text.replace("@compute ", `@compute @subgroup_size(${lanes}) `)}`;
}

function unroll(shader: string, text: string): string {
  let result = text;
  for (let match = UNROLL.exec(result); match; match = UNROLL.exec(result)) {
    const [whole, from = 0, name, end, lines = ""] = match;
    const index = new RegExp(`\\$${name}(?![A-Za-z0-9])`, "g");
    const copies = Array.from({ length: Number(end) }, (_, i) => (i < Number(from) ? "" : lines.replace(index, String(i))));
    result = result.slice(0, match.index) + copies.join("") + result.slice(match.index + whole.length);
  }
  const rest = /^[ \t]*#(?:end)?unroll.*/m.exec(result);
  if (rest) throw new ShaderCompileError(`shader "${shader}": "${rest[0].trim()}" has no other end, or is not "#unroll NAME < NUMBER"`);
  return result;
}

function expand(
  shader: string,
  text: string,
  given: { readonly defines: Defines; readonly halves: readonly string[] },
  used: Set<string>,
  path: readonly string[],
): string {
  const { defines, halves } = given;
  const where = (before: string): string =>
    `shader "${shader}"${path.map((p) => `, define ${p}`).join("")}, line ${before.split("\n").length}`;
  const pieces = text.split(PLACEHOLDER); // text, name, text, name, ..., text
  const strings = pieces.filter((_, i) => i % 2 === 0);
  let before = "";
  const values = pieces.flatMap((name, i) => {
    if (i % 2 === 0) {
      before += name;
      return [];
    }
    const [, variable = "", type = ""] = STORED.exec(name) ?? [];
    if (halves.includes(variable)) {
      return [/^vec.f/.test(type) ? type.replace("f", "h") : type !== "f32" && defines["VEC4"] ? "vec4h" : "f16"];
    }
    if (type) return [type];
    const value = Object.hasOwn(defines, name) ? defines[name] : undefined;
    if (value === undefined) {
      throw new ShaderCompileError(`${where(before)}: unknown name \${${name}}; defined: ${Object.keys(defines).join(", ") || "none"}`);
    }
    used.add(name);
    if (typeof value !== "string" || !/[$#]/.test(value)) return [value];
    if (path.length >= MAX_DEPTH) {
      throw new ShaderCompileError(`${where(before)}: \${${name}} holds itself (${[...path, name].join(" > ")})`);
    }
    return [expand(shader, value, given, used, [...path, name])];
  });
  try {
    return wgsl(strings, ...values);
  } catch (cause) {
    throw new ShaderCompileError(
      `shader "${shader}"${path.map((p) => `, define ${p}`).join("")}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/**
 * The bindings a shader declares, read from its text after preprocessing.
 * @throws ShaderCompileError for more than one uniform, a group other than 0, or a uniform that is not a struct of u32, i32 and f32
 * scalars.
 */
export function reflectShader(text: string): ReflectedShader {
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, " ");
  const storage: { name: string; binding: number; writable: boolean }[] = [];
  let uniform: ReflectedShader["uniform"];
  for (const match of code.matchAll(/((?:@\w+\s*\([^)]*\)\s*)*)var\s*<\s*(storage|uniform)\s*(?:,\s*(\w+)\s*)?>\s*(\w+)\s*:\s*(\w+)/g)) {
    const [, attributes = "", space, access, name = "", type = ""] = match;
    const group = attribute(attributes, "group");
    const binding = attribute(attributes, "binding");
    if (group !== 0 || binding === undefined) {
      throw new ShaderCompileError(`variable "${name}" needs @group(0) @binding(N), got "${attributes.trim()}"`);
    }
    if (space === "storage") storage.push({ name, binding, writable: access === "read_write" || access === "write" });
    else if (uniform) throw new ShaderCompileError(`variable "${name}" is a second uniform; a shader takes one struct of parameters`);
    else {
      const fields = structFields(code, type, name);
      uniform = { binding, fields, byteLength: Math.ceil((fields.length * 4) / 16) * 16 };
    }
  }
  storage.sort((a, b) => a.binding - b.binding);
  return uniform ? { storage, uniform } : { storage };
}

function attribute(attributes: string, name: string): number | undefined {
  const digits = new RegExp(`@${name}\\s*\\(\\s*(\\d+)[iu]?\\s*,?\\s*\\)`).exec(attributes)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function structFields(code: string, type: string, variable: string): ParamField[] {
  const body = new RegExp(`\\bstruct\\s+${type}\\s*\\{([^}]*)\\}`).exec(code)?.[1];
  if (body === undefined) throw new ShaderCompileError(`uniform "${variable}" has type "${type}", which is not a struct of this shader`);
  return body
    .split(",")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => {
      const [, name, scalar] = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(line) ?? [];
      if (name === undefined) throw new ShaderCompileError(`struct ${type}: "${line}" is not "name: u32", "name: i32" or "name: f32"`);
      return { name, type: scalar as ScalarType };
    });
}

/**
 * The bytes of a uniform struct of scalars: 4 bytes a field, in order, zero-padded to 16.
 * @throws ShaderCompileError for a field without value, a value without field, or a number its type cannot hold.
 */
export function packParams(fields: readonly ParamField[], values: Readonly<Record<string, number>>): ArrayBuffer {
  const names = new Set(fields.map((f) => f.name));
  const unknown = Object.keys(values).filter((name) => !names.has(name));
  if (unknown.length > 0) {
    throw new ShaderCompileError(`params: the shader has no field ${unknown.join(", ")}; it has ${[...names].join(", ") || "none"}`);
  }
  const buffer = new ArrayBuffer(Math.ceil((fields.length * 4) / 16) * 16);
  const view = new DataView(buffer);
  fields.forEach(({ name, type }, i) => {
    const value = values[name];
    if (value === undefined) throw new ShaderCompileError(`params: no value for "${name}"`);
    if (type === "f32") {
      if (Number.isNaN(value)) throw new ShaderCompileError(`params: "${name}" is NaN`);
      view.setFloat32(i * 4, value, true);
      return;
    }
    const [low, high] = type === "u32" ? [0, 2 ** 32 - 1] : [-(2 ** 31), 2 ** 31 - 1];
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new ShaderCompileError(`params: "${name}" must be a whole number from ${low} to ${high} (${type}), got ${value}`);
    }
    if (type === "u32") view.setUint32(i * 4, value, true);
    else view.setInt32(i * 4, value, true);
  });
  return buffer;
}
