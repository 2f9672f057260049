import packs from "../shaders/lib/pack.wgsl";

/** What a shader with `shaders/lib/pack.wgsl` takes at once. */
interface Packing {
  /** Numbers of a Pack. */
  readonly lanes: 1 | 4;
  readonly defines: { readonly PACKS: string; readonly VEC4: boolean };
}

/** Vec4s where all of `sizes` are whole ones, else single numbers. */
export function packing(...sizes: readonly number[]): Packing {
  const vec4 = sizes.every((n) => n % 4 === 0);
  return { lanes: vec4 ? 4 : 1, defines: { PACKS: packs, VEC4: vec4 } };
}
