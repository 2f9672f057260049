import walk from "../shaders/lib/attention-walk.wgsl";
import mergeWgsl from "../shaders/attention-merge.wgsl";
import { type FlashPass, type PassOutput, type RowPlace, passDispatch } from "./attention-plan.ts";
import { type Binding, type Defines, type Dispatch, type ShaderSource, spread } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

/**
 * Workgroups that keep a large GPU busy (132 processors, four small workgroups each). With fewer the walk is cut into parts, whose results
 * are merged.
 */
const ENOUGH_WORKGROUPS = 512;

/** How a workgroup computes a pass: a block of rows, in a walk over blocks of columns. */
export interface BlockForm {
  readonly shader: ShaderSource;
  readonly defines: Defines;
  readonly rows: number;
  readonly columns: number;
}

/**
 * The dispatches of a pass computed by blocks. Where blocks of rows are too few for a large GPU the walk over the columns is cut into
 * parts, each with outputs of its own in scratch memory, which further dispatches merge. A causal walk is not cut: it is as short as a
 * prompt.
 */
export function blockPass(pass: FlashPass, block: BlockForm): Dispatch[] {
  const { name, sizes: { batch, heads, queries, keys }, headVec4, bindings, params, outputs, joint = false, scratch } = pass;
  const [rows, columns] = name === "key-value" ? [keys, queries] : [queries, keys];
  const forward = name === "forward";
  const workgroups = batch * heads * Math.ceil(rows / block.rows);
  const splits = params["causal"] === 1 ? 1 : partsOf(Math.ceil(columns / block.columns), Math.floor(ENOUGH_WORKGROUPS / workgroups));
  const whole = splits === 1;
  const place: RowPlace = { rowStride: heads * headVec4, offset: 0 };
  const elements = batch * rows * place.rowStride;
  const keep = (bytes: number): Binding => ({ scratch: scratch.push(bytes) - 1 });
  const parts = whole
    ? outputs
    : outputs.map((output): PassOutput => ({ name: output.name, binding: keep(splits * elements * 16), ...(output.place && { place }) }));
  const logSumExp = forward && !whole ? keep(Math.ceil((splits * batch * heads * rows) / 4) * 16) : bindings["logSumExp"]!;
  const ofPart = passDispatch({ ...pass, bindings: { ...bindings, logSumExp }, outputs: parts, joint: joint && whole }, true);
  const main: Dispatch = {
    ...ofPart,
    shader: block.shader,
    defines: { ...ofPart.defines, WALK: walk, ...block.defines },
    params: { ...ofPart.params, splits },
    workgroups: spread(workgroups * splits),
  };
  if (whole) return [main];
  const merge = ({ binding, place: to = place }: PassOutput, i: number): Dispatch => pointwise(
    { name: "attention-merge", text: mergeWgsl },
    { count: elements, rows, heads, headVec4, splits, ...to },
    {
      defines: { WEIGHTED: forward },
      bindings: { x: parts[i]!.binding, y: binding, ...(forward && { l: logSumExp, logSumExp: bindings["logSumExp"]! }) },
    },
  );
  return [main, ...outputs.map(merge)];
}

/** How many parts `blocks` are cut into, at most `wanted`, none of them empty. */
function partsOf(blocks: number, wanted: number): number {
  const each = Math.ceil(blocks / Math.max(1, Math.min(wanted, blocks)));
  return Math.ceil(blocks / each);
}
