import { type Capabilities, type Defines, type Dispatch, type ShaderSource, type TensorType, elementCount, spread } from "./kernel.ts";
import { packing } from "./pack.ts";
import row from "../shaders/lib/row.wgsl";
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

/** A dispatch of a shader that reduces the rows of `x` [.., width] so, in Packs. */
export function rowDispatch(
  shader: ShaderSource,
  { shape }: TensorType,
  capabilities: Capabilities,
  params: Readonly<Record<string, number>> = {},
): Dispatch {
  const width = shape.at(-1)!;
  const rows = elementCount(shape.slice(0, -1));
  const pack = packing(width);
  const { defines, workgroups } = planRows(capabilities, rows, width);
  return { shader, defines: { ...defines, ...pack.defines }, params: { rows, width: width / pack.lanes, ...params }, workgroups };
}

/** The define that places `shaders/lib/activations.wgsl`. */
export const ACTIVATION_DEFINES = { ACTIVATIONS: activations } as const;
