import { type Binding, type Defines, type Dispatch, type ShaderSource, spread } from "./kernel.ts";

interface PointwiseOptions {
  readonly defines?: Defines;
  readonly bindings?: Readonly<Record<string, Binding>>;
}

/**
 * One dispatch of a shader with a thread for each element (or vec4, or whatever it takes at once), `threads` of them. How many make a
 * workgroup the shader says itself.
 */
export function pointwise(
  shader: ShaderSource,
  threads: number,
  params: Readonly<Record<string, number>>,
  { defines = {}, ...bound }: PointwiseOptions = {},
): Dispatch {
  const workgroup = Number(/@workgroup_size\((\d+)\)/.exec(shader.text)?.[1]);
  return { shader, defines, params, ...bound, workgroups: spread(Math.ceil(threads / workgroup)) };
}

/** How many values an element of a VEC4 shader holds when all of `sizes` must be whole vec4s: 4, or else 1. */
export function lanesFor(...sizes: readonly number[]): 1 | 4 {
  return sizes.every((n) => n % 4 === 0) ? 4 : 1;
}
