import scores from "../shaders/lib/attention-matrix-scores.wgsl";
import block from "../shaders/lib/attention-matrix.wgsl";
import keyValueWgsl from "../shaders/attention-matrix-gradient-key-value.wgsl";
import queryWgsl from "../shaders/attention-matrix-gradient-query.wgsl";
import forwardWgsl from "../shaders/attention-matrix.wgsl";
import { blockPass } from "./attention-block.ts";
import type { FlashPass } from "./attention-plan.ts";
import type { AttentionForm, PassName } from "./attention-table.ts";
import type { Capabilities, Defines, Dispatch, MatrixConfig, MatrixUnits, ShaderSource } from "./kernel.ts";
import { matrixConfig } from "./matrix-tile.ts";

const SHADERS: Readonly<Record<PassName, ShaderSource>> = {
  forward: { name: "attention-matrix", text: forwardWgsl },
  query: { name: "attention-matrix-gradient-query", text: queryWgsl },
  "key-value": { name: "attention-matrix-gradient-key-value", text: keyValueWgsl },
};

/** All that this form is made of. */
export const MATRIX_SOURCES: readonly string[] = [block, scores, forwardWgsl, queryWgsl, keyValueWgsl];

/** Forms that compute on matrix units: subgroups own one fragment of rows, or two where those stay in registers. */
export type MatrixForm = Extract<AttentionForm, `matrix${string}`>;

const SUBGROUPS = 4;
/** Vec4s that a thread loads before it waits: with all of the largest head the results would not stay in registers. */
const MOST_LOADS = 5;

interface Shape {
  /** Columns between whose scores and whose weights workgroup barriers lie. */
  readonly columns: number;
  /** Tiles of scores and of weights that a fragment of rows has at once. */
  readonly tiles: number;
  readonly operands: number;
  /**
   * The largest head for subgroups with one fragment of rows, and with two: beyond it rows and results do not stay in registers (255 on
   * NVIDIA).
   */
  readonly heads: readonly [one: number, two: number];
}

const SHAPES: Readonly<Record<PassName, Shape>> = {
  forward: { columns: 32, tiles: 1, operands: 1, heads: [160, 80] },
  query: { columns: 16, tiles: 2, operands: 1, heads: [160, 64] },
  "key-value": { columns: 16, tiles: 2, operands: 2, heads: [96, 48] },
};

interface MatrixBlock {
  /** Of the block. */
  readonly rows: number;
  /** Staged at a time. */
  readonly columns: number;
  /** Of workgroup memory. */
  readonly bytes: number;
  readonly defines: Defines;
}

/** The block on matrix units for a pass over heads of `headVec4` vec4s; undefined where the device has none that fits. */
export function matrixBlock(form: MatrixForm, pass: PassName, headVec4: number, capabilities: Capabilities): MatrixBlock | undefined {
  const { matrixUnits, maxComputeWorkgroupStorageSize: limit, maxComputeInvocationsPerWorkgroup: most } = capabilities;
  const config = matrixConfig(capabilities, "f16");
  if (!matrixUnits || matrixUnits.dialect.flags || !config || matrixUnits.lanes % config.m !== 0 || SUBGROUPS * matrixUnits.lanes > most) {
    return undefined;
  }
  for (const fragments of form === "matrix-2" ? [2, 1] : [1]) {
    if (4 * headVec4 > SHAPES[pass].heads[fragments - 1]!) continue;
    for (const staged of [64, 32]) {
      const found = blockOf(pass, headVec4, config, matrixUnits, fragments, staged);
      if (found && found.bytes <= limit) return found;
    }
  }
  return undefined;
}

function blockOf(
  pass: PassName,
  headVec4: number,
  { m, n, k }: MatrixConfig,
  { lanes, dialect }: MatrixUnits,
  fragments: number,
  staged: number,
): MatrixBlock | undefined {
  const { columns, tiles, operands } = SHAPES[pass];
  const fragment = Math.max(n, k);
  const head = Math.ceil((4 * headVec4) / fragment) * fragment;
  const rows = SUBGROUPS * m;
  if (rows > 2 * staged || columns % (4 * (lanes / m)) !== 0 || columns % n !== 0 || columns % k !== 0) return undefined;
  const tile = SUBGROUPS * fragments * m * (columns + 8);
  return {
    rows: fragments * rows,
    columns: staged,
    bytes: 2 * staged * (head + 8) * 2 + tile * (tiles * 4 + operands * 2) + (pass === "key-value" ? staged * 8 : 16),
    defines: {
      BLOCK: block,
      SCORES: scores,
      SIGNED: pass === "forward",
      GAIN: pass !== "forward",
      EXTENSION: dialect.extension,
      MULTIPLY: dialect.multiply,
      M: m,
      N: n,
      K: k,
      LANES: lanes,
      SUBGROUPS,
      FRAGMENTS: fragments,
      STAGED: staged,
      COLUMNS: columns,
      HEAD: head,
      HEAD_VEC4: headVec4,
      TILES: tiles,
      OPERANDS: operands,
      LOADS: Math.min(MOST_LOADS, Math.ceil((staged * headVec4) / (SUBGROUPS * lanes))),
      HEAD_K: head / k,
      HEAD_N: head / n,
      OWN: columns / 4 / (lanes / m),
    },
  };
}

/** The dispatches of a pass on matrix units; undefined where the device has none that fits. */
export function matrixPass(pass: FlashPass, form: MatrixForm, capabilities: Capabilities): Dispatch[] | undefined {
  const found = matrixBlock(form, pass.name, pass.headVec4, capabilities);
  if (!found) return undefined;
  const params = pass.name === "forward" ? pass.params : { ...pass.params, gain: gainFor(pass.sizes.keys) };
  return blockPass({ ...pass, params }, { shader: SHADERS[pass.name], ...found });
}

/**
 * What probabilities among so many keys, and their gradients, are multiplied by to become f16: their mean comes to 1 / gain, and 1 is far
 * from f16's largest.
 */
function gainFor(keys: number): number {
  return 2 ** Math.round(Math.log2(keys) / 2);
}
