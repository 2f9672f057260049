import { type Capabilities, type Defines, spread } from "./kernel.ts";
import row from "../shaders/lib/row.wgsl";
import packs from "../shaders/lib/pack.wgsl";
import activations from "../shaders/lib/activations.wgsl";

/** From this many elements on, a whole workgroup works on a row even where subgroups could. */
const WIDE_ROW = 4096;
const WORKGROUP = 64;
const WIDE_WORKGROUP = 256;

/**
 * Defines and grid of a shader that reduces rows with `shaders/lib/row.wgsl`: one subgroup a row where the device has them and
 * rows are short, one workgroup a row otherwise.
 */
export function planRows(
  capabilities: Capabilities,
  rows: number,
  width: number,
): { defines: Defines; workgroups: [number, number, number] } {
  const wide = width >= WIDE_ROW;
  const subgroups = capabilities.subgroupSize > 0 && capabilities.subgroupRows !== false && !wide;
  const workgroup = Math.max(wide ? WIDE_WORKGROUP : WORKGROUP, subgroups ? capabilities.subgroupSize : 0);
  const lanes = subgroups ? capabilities.subgroupSize : workgroup;
  return {
    defines: { ROW: row, SUBGROUPS: subgroups, LANES: lanes, WORKGROUP: workgroup },
    workgroups: spread(Math.ceil(rows / Math.floor(workgroup / lanes))),
  };
}

/** The defines of `shaders/lib/pack.wgsl` for rows of `width` elements: vec4s where the width allows it. */
export function packDefines(width: number): { PACKS: string; VEC4: boolean } {
  return { PACKS: packs, VEC4: width % 4 === 0 };
}

/** Packs in a row of `width` elements. */
export function packCount(width: number): number {
  return width % 4 === 0 ? width / 4 : width;
}

/** The define that places `shaders/lib/activations.wgsl`. */
export const ACTIVATION_DEFINES = { ACTIVATIONS: activations } as const;
