import blockWgsl from "../shaders/lib/attention-block.wgsl";
import keyValueWgsl from "../shaders/attention-tiled-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-tiled-gradient-query.wgsl";
import forwardWgsl from "../shaders/attention-tiled.wgsl";
import { blockPass } from "./attention-block.ts";
import type { FlashPass } from "./attention-plan.ts";
import type { AttentionForm, PassName } from "./attention-table.ts";
import type { Defines, Dispatch, ShaderSource } from "./kernel.ts";

const SHADERS: Readonly<Record<PassName, ShaderSource>> = {
  forward: { name: "attention-tiled", text: forwardWgsl },
  query: { name: "attention-tiled-gradient-query", text: queryWgsl },
  "key-value": { name: "attention-tiled-gradient-key-value", text: keyValueWgsl },
};

/** All that this form is made of. */
export const TILED_SOURCES: readonly string[] = [blockWgsl, forwardWgsl, queryWgsl, keyValueWgsl];

export type TiledForm = Extract<AttentionForm, `tiled${string}`>;

/** How a workgroup's threads share out a block: a grid of threads, each with `rows` rows and `groups` groups of four columns of scores. */
export interface TiledBlock {
  readonly threadRows: number;
  readonly threadColumns: number;
  readonly rows: number;
  readonly groups: number;
}

/** Workgroup memory in vec4s: the 16 KiB that every device has. */
const WORKGROUP_VEC4 = 1024;

/** The largest head, and the block for heads up to it. */
type Blocks = readonly (readonly [
  upTo: number,
  block: readonly [threadRows: number, threadColumns: number, rows: number, groups: number],
])[];

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
  "tiled-small": {
    forward: [[160, [4, 16, 4, 1]]],
    query: [[160, [4, 16, 4, 1]]],
    "key-value": [[160, [4, 16, 4, 1]]],
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
  const valueRows = [groupColumns, groupColumns / 2, groupColumns / 4, groupColumns / 8].find(
    (n) => n % 4 === 0 && weights + n * headVec4 + slack <= WORKGROUP_VEC4,
  );
  if (valueRows === undefined || chunk === 0) {
    throw new Error(
      `attention: a block of ${blockRows} rows and ${groups * groupColumns} columns with heads of ${4 * headVec4} does not fit into ` +
        "workgroup memory",
    );
  }
  const reduced = (rows / 4) * threadRows * (threadColumns + 2);
  return {
    BLOCK: blockWgsl,
    THREAD_ROWS: threadRows,
    THREAD_COLUMNS: threadColumns,
    ROWS: rows,
    FOURS: rows / 4,
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

/** The dispatches of a pass in one of the tiled forms. */
export function tiledPass(pass: FlashPass, form: TiledForm): Dispatch[] {
  const block = tiledBlock(form, pass.name, pass.headVec4);
  const { threadRows, threadColumns, rows, groups } = block;
  return blockPass(pass, {
    shader: SHADERS[pass.name],
    defines: blockDefines(block, pass.headVec4),
    rows: threadRows * rows,
    columns: 4 * threadColumns * groups,
  });
}
