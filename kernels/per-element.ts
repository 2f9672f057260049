import { type Binding, type Defines, type Dispatch, type ShaderSource, spread } from "./kernel.ts";

/** Invocations per workgroup of every shader dispatched by `perElement`. */
const WORKGROUP = 64;

/** One dispatch of a shader that computes one element (or vec4) per invocation, `elements` of them, in workgroups of 64. */
export function perElement(
  shader: ShaderSource,
  elements: number,
  defines: Defines,
  bindings: Readonly<Record<string, Binding>>,
  params: Readonly<Record<string, number>>,
): Dispatch {
  return { shader, defines, bindings, params, workgroups: spread(Math.ceil(elements / WORKGROUP)) };
}

/** How many values an element of a VEC4 shader holds when all of `sizes` must be whole vec4s: 4, or else 1. */
export function lanesFor(...sizes: readonly number[]): 1 | 4 {
  return sizes.every((n) => n % 4 === 0) ? 4 : 1;
}
