import tile from "../shaders/lib/attention-tile.wgsl";
import keyValueWgsl from "../shaders/attention-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-gradient-query.wgsl";
import forwardWgsl from "../shaders/attention.wgsl";
import { type FlashPass, MAX_FLASH_HEAD, passDispatch } from "./attention-plan.ts";
import type { PassName } from "./attention-table.ts";
import { type Capabilities, type Defines, type Dispatch, type ShaderSource, spread } from "./kernel.ts";

const SHADERS: Readonly<Record<PassName, ShaderSource>> = {
  forward: { name: "attention", text: forwardWgsl },
  query: { name: "attention-gradient-query", text: queryWgsl },
  "key-value": { name: "attention-gradient-key-value", text: keyValueWgsl },
};

/** All that this form is made of. */
export const ROWS_SOURCES: readonly string[] = [tile, forwardWgsl, queryWgsl, keyValueWgsl];

// One pipeline for every head size on software adapters, where compiling is what costs and private arrays are memory anyway.
// On a GPU the head lies in registers, so its loops need constant bounds.
function headDefines(headVec4: number, software: boolean): Defines {
  return software ? { UNROLL: false, HEAD_VEC4: MAX_FLASH_HEAD / 4 } : { UNROLL: true, HEAD_VEC4: headVec4 };
}

/**
 * From this many rows and this much work (FLOPs) on, software adapters give a lane four rows of its tensor: each load of the other two then
 * serves four times as much. Measured at SD 1.4's shapes, against one row: 1.6 to 1.8 times the speed forward on lavapipe and SwiftShader,
 * 1.5 times in the gradients. Its pipeline takes twice as long to compile (2 s on lavapipe), so small models do with the other.
 */
const FOUR_ROWS_FROM = { rows: 48, flops: 1e7 };

/** The tensors whose rows a lane owns, and those whose rows every lane walks over, by the shaders' names for their buffers. */
const TENSORS: Readonly<Record<PassName, Defines>> = {
  forward: { ROWS: "queries", OWN_A: "q", OWN_B: "q", TILE_A: "k", TILE_B: "v" },
  query: { ROWS: "queries", OWN_A: "q", OWN_B: "dO", TILE_A: "k", TILE_B: "v" },
  "key-value": { ROWS: "keys", OWN_A: "k", OWN_B: "v", TILE_A: "q", TILE_B: "dO" },
};

/**
 * A pass whose lanes own whole rows of a head and walk over tiles of two other tensors. Broadcasting between lanes was measured to pay on
 * software adapters, where a lane is an element of a CPU vector. Without subgroups, and on GPUs, tiles lie in workgroup memory.
 */
export function rowsPass(pass: FlashPass, { subgroupSize, software }: Capabilities): Dispatch[] {
  const { name, sizes: { batch, heads, queries, keys }, headVec4, flops, outputs } = pass;
  const rows = name === "key-value" ? keys : queries;
  const split = subgroupSize === 4;
  const workgroup = software ? 16 : 64;
  const fourRows = software && rows >= FOUR_ROWS_FROM.rows && flops >= FOUR_ROWS_FROM.flops;
  const main = passDispatch(pass, false);
  const defines: Defines = {
    ...main.defines,
    ...headDefines(headVec4, software),
    TILE: tile,
    ...TENSORS[name],
    OUTPUTS: outputs.length,
    SUBGROUPS: software && subgroupSize >= 4,
    SPLIT: split,
    HIGH: split ? 0 : 4,
    WORKGROUP: workgroup,
    FOUR_ROWS: fourRows,
  };
  const workgroups = spread(batch * heads * Math.ceil(rows / (fourRows ? 4 * workgroup : workgroup)));
  return [{ ...main, shader: SHADERS[name], defines, workgroups }];
}
