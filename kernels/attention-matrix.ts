import block from "../shaders/lib/attention-matrix.wgsl";
import keyValueWgsl from "../shaders/attention-matrix-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-matrix-gradient-query.wgsl";
import forwardWgsl from "../shaders/attention-matrix.wgsl";
import { blockPass } from "./attention-block.ts";
import type { FlashPass } from "./attention-plan.ts";
import type { PassName } from "./attention-table.ts";
import type { Capabilities, Defines, Dispatch, MatrixConfig, ShaderSource } from "./kernel.ts";
import { matrixConfig } from "./matrix-tile.ts";

const SHADERS: Readonly<Record<PassName, ShaderSource>> = {
  forward: { name: "attention-matrix", text: forwardWgsl },
  query: { name: "attention-matrix-gradient-query", text: queryWgsl },
  "key-value": { name: "attention-matrix-gradient-key-value", text: keyValueWgsl },
};

/** All that this form is made of. */
export const MATRIX_SOURCES: readonly string[] = [block, forwardWgsl, queryWgsl, keyValueWgsl];

/** Subgroups of a workgroup; each owns the rows of one fragment. */
const SUBGROUPS = 4;

/** Tiles of scores and of weights that a subgroup has at once. */
const TILES: Readonly<Record<PassName, readonly [scores: number, weights: number]>> = { forward: [1, 1], query: [2, 1], "key-value": [2, 2] };

/** Results of a subgroup's rows that stay in registers, in components of the head: beyond it dK and dV do not. */
const LARGEST: Readonly<Record<PassName, number>> = { forward: 160, query: 160, "key-value": 96 };

interface MatrixBlock {
  readonly rows: number;
  readonly columns: number;
  /** Bytes of workgroup memory. */
  readonly bytes: number;
  readonly defines: Defines;
}

/** The block on matrix units for a pass over heads of `headVec4` vec4s; undefined where the device has none that fits. */
export function matrixBlock(pass: PassName, headVec4: number, { matrixUnits, maxComputeWorkgroupStorageSize: limit, maxComputeInvocationsPerWorkgroup: most }: Capabilities): MatrixBlock | undefined {
  const config = matrixConfig({ ...(matrixUnits && { matrixUnits }) }, "f16");
  if (!matrixUnits || matrixUnits.old || !config || matrixUnits.lanes % config.m !== 0 || SUBGROUPS * matrixUnits.lanes > most || 4 * headVec4 > LARGEST[pass]) return undefined;
  for (const columns of pass === "forward" ? [64, 32, 16] : [32, 16]) {
    const found = blockOf(pass, headVec4, config, matrixUnits.lanes, columns);
    if (found && found.bytes <= limit) return found;
  }
  return undefined;
}

function blockOf(pass: PassName, headVec4: number, { m, n, k }: MatrixConfig, lanes: number, columns: number): MatrixBlock | undefined {
  const rows = SUBGROUPS * m;
  const fragment = Math.max(n, k);
  const head = Math.ceil((4 * headVec4) / fragment) * fragment;
  if (rows > 2 * columns || columns % (4 * (lanes / m)) !== 0 || columns % fragment !== 0 || fragment % n !== 0 || fragment % k !== 0) return undefined;
  const [scores, weights] = TILES[pass];
  const tile = SUBGROUPS * m * (columns + 8);
  return {
    rows,
    columns,
    bytes: 2 * columns * (head + 8) * 2 + tile * (scores * 4 + weights * 2) + (pass === "key-value" ? columns * 8 : 0),
    defines: { BLOCK: block, M: m, N: n, K: k, LANES: lanes, SUBGROUPS, BLOCK_COLUMNS: columns, HEAD: head, HEAD_VEC4: headVec4, TILES: scores, OPERANDS: weights },
  };
}

/** The dispatches of a pass on matrix units; undefined where the device has none that fits. */
export function matrixPass(pass: FlashPass, capabilities: Capabilities): Dispatch[] | undefined {
  const found = matrixBlock(pass.name, pass.headVec4, capabilities);
  if (!found) return undefined;
  const params = pass.name === "forward" ? pass.params : { ...pass.params, gain: gainFor(pass.sizes.keys) };
  return blockPass({ ...pass, params }, { shader: SHADERS[pass.name], ...found });
}

/** What probabilities among so many keys, and their gradients, are multiplied by to become f16: their mean comes to 1 / gain, and 1 is far from f16's largest. */
function gainFor(keys: number): number {
  return 2 ** Math.round(Math.log2(keys) / 2);
}
