import block from "../shaders/lib/attention-block.wgsl";
import mergeWgsl from "../shaders/attention-merge.wgsl";
import keyValueWgsl from "../shaders/attention-tiled-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-tiled-gradient-query.wgsl";
import forwardWgsl from "../shaders/attention-tiled.wgsl";
import { type FlashPass, type PassOutput, type RowPlace, outputParams } from "./attention-plan.ts";
import type { AttentionForm, PassName } from "./attention-table.ts";
import { type Binding, type Defines, type Dispatch, type ShaderSource, spread } from "./kernel.ts";
import { perElement } from "./per-element.ts";

const SHADERS: Readonly<Record<PassName, ShaderSource>> = {
  forward: { name: "attention-tiled", text: forwardWgsl },
  query: { name: "attention-tiled-gradient-query", text: queryWgsl },
  "key-value": { name: "attention-tiled-gradient-key-value", text: keyValueWgsl },
};

/** All that this form is made of. */
export const TILED_SOURCES: readonly string[] = [block, mergeWgsl, forwardWgsl, queryWgsl, keyValueWgsl];

export type TiledForm = Exclude<AttentionForm, "rows">;

/** How a workgroup's threads share out a block: a grid of threads, each with `rows` rows and `groups` groups of four columns of scores. */
export interface TiledBlock {
  readonly threadRows: number;
  readonly threadColumns: number;
  readonly rows: number;
  readonly groups: number;
}

/** Workgroup memory in vec4s: the 16 KiB that every device has. */
const WORKGROUP_VEC4 = 1024;

/** Workgroups that keep a large GPU busy (132 processors, four small workgroups each). With fewer the walk is cut into parts, whose results are merged. */
const ENOUGH_WORKGROUPS = 512;

/** The largest head, and the block for heads up to it. */
type Blocks = readonly (readonly [upTo: number, block: readonly [threadRows: number, threadColumns: number, rows: number, groups: number]])[];

/** Scores and outputs stay in a thread's registers: at most 168 numbers (255 registers on NVIDIA). */
const BLOCKS: Readonly<Record<TiledForm, Readonly<Record<PassName, Blocks>>>> = {
  "tiled-8": {
    forward: [[48, [8, 8, 8, 2]], [80, [8, 8, 8, 1]], [160, [8, 8, 4, 2]]],
    query: [[80, [8, 8, 8, 1]], [160, [8, 8, 4, 1]]],
    "key-value": [[48, [8, 8, 8, 1]], [80, [8, 8, 4, 1]], [160, [8, 16, 4, 1]]],
  },
  "tiled-4": {
    forward: [[160, [16, 8, 4, 2]]],
    query: [[80, [16, 8, 4, 2]], [160, [16, 8, 4, 1]]],
    "key-value": [[80, [16, 8, 4, 1]], [160, [8, 16, 4, 1]]],
  },
};

/** The block for a pass over heads of `headVec4` vec4s. */
export function tiledBlock(form: TiledForm, pass: PassName, headVec4: number): TiledBlock {
  const [, [threadRows, threadColumns, rows, groups]] = BLOCKS[form][pass].find(([upTo]) => 4 * headVec4 <= upTo)!;
  return { threadRows, threadColumns, rows, groups };
}

/** A block as the shaders' defines. @throws Error if it does not fit into workgroup memory. */
export function blockDefines({ threadRows, threadColumns, rows, groups }: TiledBlock, headVec4: number): Defines {
  const [blockRows, groupColumns] = [threadRows * rows, 4 * threadColumns];
  const lines = blockRows + groups * groupColumns;
  const chunk = chunkFor(headVec4, lines);
  // Pieces are vec4s where the thread columns share them out evenly, else numbers.
  const vec4 = headVec4 % threadColumns === 0;
  const columns = vec4 ? headVec4 / threadColumns : Math.ceil((4 * headVec4) / threadColumns);
  const slack = vec4 ? 0 : Math.ceil((columns * threadColumns) / 4) - headVec4; // of the last row: what the idle threads read
  const weights = blockRows * (threadColumns + 1);
  const valueRows = [groupColumns, groupColumns / 2, groupColumns / 4, groupColumns / 8].find((n) => n % 4 === 0 && weights + n * headVec4 + slack <= WORKGROUP_VEC4);
  if (valueRows === undefined || chunk === 0) throw new Error(`attention: a block of ${blockRows} rows and ${groups * groupColumns} columns with heads of ${4 * headVec4} does not fit into workgroup memory`);
  const reduced = (rows / 4) * threadRows * (threadColumns + 2);
  return {
    BLOCK: block,
    THREAD_ROWS: threadRows,
    THREAD_COLUMNS: threadColumns,
    ROWS: rows,
    GROUPS: groups,
    COLUMNS: columns,
    HEAD_VEC4: headVec4,
    CHUNK: chunk,
    VALUE_ROWS: valueRows,
    VEC4: vec4,
    TILE_VEC4: Math.max(lines * (chunk | 1), weights + valueRows * headVec4 + slack, reduced),
  };
}

/** Vec4s of the head to stage at a time for so many lines: the fewest steps, of those the fewest staged for nothing; 0 if none fits. */
function chunkFor(headVec4: number, lines: number): number {
  const cost = (chunk: number): number => Math.ceil(headVec4 / chunk) * (chunk + 1);
  let best = 0;
  for (let chunk = 1; lines * (chunk | 1) <= WORKGROUP_VEC4 && chunk <= headVec4; chunk++) {
    if (best === 0 || cost(chunk) <= cost(best)) best = chunk;
  }
  return best;
}

/**
 * The dispatches of a tiled pass. Where blocks of rows are too few for a large GPU the walk over the columns is cut into parts, each with outputs
 * of its own in scratch memory, which further dispatches merge. A causal walk is not cut: it is as short as a prompt.
 */
export function tiledPass({ name, sizes: { batch, heads, queries, keys }, headVec4, bindings, params, outputs, joint = false, scratch }: FlashPass, form: TiledForm): Dispatch[] {
  const [rows, columns] = name === "key-value" ? [keys, queries] : [queries, keys];
  const forward = name === "forward";
  const block = tiledBlock(form, name, headVec4);
  const workgroups = batch * heads * Math.ceil(rows / (block.threadRows * block.rows));
  const splits = params["causal"] === 1 ? 1 : partsOf(Math.ceil(columns / (4 * block.threadColumns * block.groups)), Math.floor(ENOUGH_WORKGROUPS / workgroups));
  const whole = splits === 1;
  const place: RowPlace = { rowStride: heads * headVec4, offset: 0 };
  const elements = batch * rows * place.rowStride;
  const keep = (bytes: number): Binding => ({ scratch: scratch.push(bytes) - 1 });
  const parts = whole ? outputs : outputs.map((output): PassOutput => ({ name: output.name, binding: keep(splits * elements * 16), ...(output.place && { place }) }));
  const logSumExp = forward && !whole ? keep(Math.ceil((splits * batch * heads * rows) / 4) * 16) : bindings["logSumExp"]!;
  const shared = joint && whole;
  const bound = Object.fromEntries((shared ? parts.slice(0, 1) : parts).map((part) => [part.name, part.binding]));
  const main: Dispatch = {
    shader: SHADERS[name],
    defines: { ...blockDefines(block, headVec4), ...(name === "key-value" && { JOINT: shared, DV: shared ? "dK" : "dV" }) },
    bindings: { ...bindings, logSumExp, ...bound },
    params: { ...params, splits, ...outputParams(parts) },
    workgroups: spread(workgroups * splits),
  };
  if (whole) return [main];
  const merge = ({ binding, place: to = place }: PassOutput, i: number): Dispatch => perElement(
    { name: "attention-merge", text: mergeWgsl },
    elements,
    { WEIGHTED: forward },
    { x: parts[i]!.binding, y: binding, ...(forward && { l: logSumExp, logSumExp: bindings["logSumExp"]! }) },
    { elements, rows, heads, headVec4, splits, ...to },
  );
  return [main, ...outputs.map(merge)];
}

/** How many parts `blocks` are cut into, at most `wanted`, none of them empty. */
function partsOf(blocks: number, wanted: number): number {
  const each = Math.ceil(blocks / Math.max(1, Math.min(wanted, blocks)));
  return Math.ceil(blocks / each);
}
