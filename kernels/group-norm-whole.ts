import spanWgsl from "../shaders/lib/span.wgsl";
import gradientWgsl from "../shaders/group-norm-gradient-whole.wgsl";
import normWgsl from "../shaders/group-norm-whole.wgsl";
import type { GroupNormLayout } from "./group-norm-plan.ts";
import { type Capabilities, type Dispatch, type ShaderSource, spread } from "./kernel.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";

/** Up to here a GPU's workgroup takes a span by itself; larger ones are for many workgroups. Not measured. */
const GPU_SPAN_ELEMENTS = 32768;

/**
 * Bytes of a picture up to which a software adapter's caches keep it between a workgroup's passes. On lavapipe one dispatch takes 0.6 to 1
 * times the time of three below, and up to twice that above. 32 lanes: 16 are too few for wide groups, 64 were slower on small pictures.
 */
const CACHED_BYTES = 3 * 2 ** 20;
const SOFTWARE_WORKGROUP = 32;

/** How a workgroup takes whole groups of channels, see shaders/lib/span.wgsl. */
interface Span {
  readonly workgroup: number;
  /** vec4s of a position. */
  readonly width: number;
  readonly groups: number;
}

function spanOf({ positions, channels, perGroup }: GroupNormLayout, { software }: Capabilities): Span | undefined {
  if (channels % 4 !== 0) return undefined;
  const groups = perGroup % 4 === 0 ? 1 : perGroup % 2 === 0 ? 2 : 4;
  const span: Span = { workgroup: software ? SOFTWARE_WORKGROUP : 256, width: (groups * perGroup) / 4, groups };
  if (span.width > span.workgroup) return undefined;
  const fits = software ? positions * channels * 4 <= CACHED_BYTES : positions * span.width * 4 <= GPU_SPAN_ELEMENTS;
  return fits ? span : undefined;
}

function dispatch(
  shader: ShaderSource,
  layout: GroupNormLayout,
  silu: boolean,
  capabilities: Capabilities,
  params: Readonly<Record<string, number>>,
): Dispatch | undefined {
  const span = spanOf(layout, capabilities);
  if (!span) return undefined;
  const { batch, positions, channels, groups, perGroup } = layout;
  const spansPerImage = groups / span.groups;
  const rows = Math.floor(span.workgroup / span.width);
  return {
    shader,
    defines: { ...ACTIVATION_DEFINES, SPAN: spanWgsl, WORKGROUP: span.workgroup, SILU: silu },
    params: {
      spans: batch * spansPerImage,
      spansPerImage,
      positions,
      columns: channels / 4,
      width: span.width,
      rows,
      each: Math.floor(positions / rows),
      extra: positions % rows,
      groupsPerSpan: span.groups,
      perGroup,
      ...params,
    },
    workgroups: spread(batch * spansPerImage),
  };
}

/** A whole group norm with its outputs y and statistics, in one dispatch; undefined where it takes several. */
export function wholeGroupNorm(layout: GroupNormLayout, silu: boolean, epsilon: number, capabilities: Capabilities): Dispatch | undefined {
  return dispatch({ name: "group-norm-whole", text: normWgsl }, layout, silu, capabilities, { epsilon });
}

/** The same for the gradient. */
export function wholeGroupNormGradient(
  layout: GroupNormLayout,
  silu: boolean,
  hasResidual: boolean,
  capabilities: Capabilities,
): Dispatch | undefined {
  const shader = { name: "group-norm-gradient-whole", text: gradientWgsl };
  return dispatch(shader, layout, silu, capabilities, { hasResidual: Number(hasResidual) });
}
