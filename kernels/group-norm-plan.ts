import chunkWgsl from "../shaders/lib/chunk.wgsl";
import groupStatistics from "../shaders/lib/group-statistics.wgsl";
import groupWalk from "../shaders/lib/group-walk.wgsl";
import {
  type Binding, type ByName, type Capabilities, type Defines, type Dispatch, type ShaderSource, ShapeError, type TensorType, elementCount,
  formatType, sameShape,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";
import { ACTIVATION_DEFINES, planRows } from "./rows.ts";

/** What is fused with a group norm and how it groups. */
export type GroupNormAttributes = { readonly groups: number; readonly epsilon: number; readonly silu: boolean };

/** x [batch, .., channels] seen as [batch, positions, groups, perGroup]. */
export interface GroupNormLayout {
  readonly batch: number;
  readonly positions: number;
  readonly channels: number;
  readonly groups: number;
  /** Channels in a group. */
  readonly perGroup: number;
}

/** @throws ShapeError unless x has a batch and a channel dimension that the groups divide, and gamma and beta are [channels]. */
export function groupNormLayout({ x, ...rows }: ByName<"x" | "gamma" | "beta", never, TensorType>, groups: number): GroupNormLayout {
  const channels = x.shape.at(-1);
  if (x.shape.length < 2 || channels === undefined) throw new ShapeError(`x must be [batch, .., channels], got ${formatType(x)}`);
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ShapeError(`${groups} groups do not divide the ${channels} channels of x ${formatType(x)}`);
  }
  for (const name of ["gamma", "beta"] as const) {
    if (!sameShape(rows[name].shape, [channels])) {
      throw new ShapeError(`${name} must be [${channels}], the channels of x ${formatType(x)}, got ${formatType(rows[name])}`);
    }
  }
  return { batch: x.shape[0]!, positions: elementCount(x.shape.slice(1, -1)), channels, groups, perGroup: channels / groups };
}

/** @throws ShapeError unless there are a mean and a factor for each group */
export function needStatistics(statistics: TensorType, { batch, groups }: GroupNormLayout): void {
  if (!sameShape(statistics.shape, [batch, groups, 2])) {
    throw new ShapeError(`statistics must be [${batch},${groups},2], got ${formatType(statistics)}`);
  }
}

/**
 * Up to this many elements in a group, one row of lanes reads them directly; larger groups are first reduced by channel and chunk, in vec4s
 * whatever the group's channels. On a software adapter scalar loads cost more than the extra dispatch from about here on (measured on
 * lavapipe).
 */
const DIRECT_ELEMENTS = { gpu: 4096, software: 512 } as const;

/** Positions per chunk of the first of two reduction steps; undefined where the group is small enough to need only one. */
export function reductionChunk(layout: GroupNormLayout, capabilities: Capabilities): number | undefined {
  if (layout.positions * layout.perGroup <= DIRECT_ELEMENTS[capabilities.software ? "software" : "gpu"]) return undefined;
  // A software adapter has few lanes to keep busy; a GPU wants thousands of threads.
  return capabilities.software ? Math.min(1024, Math.max(16, Math.ceil(layout.positions / 16))) : 32;
}

/** Positions that a thread of an applying shader takes. */
export function applyChunk(capabilities: Capabilities): number {
  return capabilities.software ? 16 : 4;
}

/** Chunks of at most `perChunk` positions. */
export function chunkCount(layout: GroupNormLayout, perChunk: number): number {
  return Math.ceil(layout.positions / perChunk);
}

/**
 * A dispatch of one thread per Pack of channels and chunk of positions.
 * @param ofGroups of a shader that reads the statistics of groups: whether SiLU comes after it, and whether they hold a gradient's moments
 */
export function columnDispatch(
  shader: ShaderSource,
  layout: GroupNormLayout,
  perChunk: number,
  ofGroups: { readonly silu: boolean; readonly moments?: boolean } | undefined,
  bindings: Readonly<Record<string, Binding>> = {},
): Dispatch {
  const { batch, positions, channels, groups, perGroup } = layout;
  const pack = packing(channels);
  const columns = channels / pack.lanes;
  const chunks = chunkCount(layout, perChunk);
  const params = { count: batch * chunks * columns, positions, columns, chunks, perChunk, ...(ofGroups && { groups, perGroup }) };
  const defines = {
    ...pack.defines,
    CHUNK: chunkWgsl,
    ...(ofGroups && { ...ACTIVATION_DEFINES, SILU: ofGroups.silu, STATISTICS: groupStatistics, MOMENTS: ofGroups.moments ?? false }),
  };
  return pointwise(shader, params, { defines, bindings });
}

/** A dispatch of one row of lanes per batch entry and group, over `entries` positions or chunks. */
export function groupDispatch(
  shader: ShaderSource,
  layout: GroupNormLayout,
  entries: number,
  capabilities: Capabilities,
  defines: Defines,
  bindings: Readonly<Record<string, Binding>> = {},
  params: Readonly<Record<string, number>> = {},
): Dispatch {
  const { batch, positions, channels, groups, perGroup } = layout;
  const rows = planRows(capabilities, batch * groups, entries * perGroup);
  const { lanes, defines: packs } = packing(perGroup);
  return {
    shader,
    defines: { ...rows.defines, ...packs, WALK: groupWalk, ...defines },
    bindings,
    params: {
      rows: batch * groups,
      groups,
      positions: entries,
      columns: channels / lanes,
      perGroup: perGroup / lanes,
      total: positions,
      ...params,
    },
    workgroups: rows.workgroups,
  };
}
