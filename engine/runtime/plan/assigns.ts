import { type Value, byteLength, formatType } from "../../../kernels/kernel.ts";
import { type GraphNode, type GraphValue, asGraphValue } from "../graph.ts";
import { Tensor } from "../tensor.ts";

/** A tensor that outlives a run, or the leaf that stands for one (whose memory need not be there yet), and what it holds after the run. */
export type Assign = readonly [target: Tensor | Value, value: Value];

/** Which assigned values are computed right in their target's memory. */
export interface PlacedAssigns {
  /** By the value whose memory is meant (`storage`): the target. */
  readonly placed: ReadonlyMap<GraphValue, Tensor | Value>;
  /** Ops that write their outputs over their own inputs (`Kernel.inPlace`). */
  readonly overwriting: ReadonlySet<GraphNode>;
  /** What is left to be copied when all else is done. */
  readonly copies: readonly Assign[];
}

/**
 * A value is computed in its target's memory if every op that reads the target's old numbers comes before the one that makes the value, or
 * is that op and can work in place. Everything else is copied at the end of a run.
 * @param nodes the ops of a run in order, views left out
 * @param outputs values that are read after the run, whose memory stays their own
 * @throws Error for a target that is assigned twice or has another type than its value
 */
export function placeAssigns(
  nodes: readonly GraphNode[],
  storage: (value: GraphValue) => GraphValue,
  assigns: readonly Assign[],
  outputs: ReadonlySet<GraphValue>,
): PlacedAssigns {
  const reads = new Map<GraphValue, number>();
  const firstWrites = new Map<GraphValue, number>();
  nodes.forEach((node, step) => {
    for (const v of node.inputs) if (v) reads.set(storage(v), step);
    for (const v of node.outputs.map(storage)) if (!firstWrites.has(v)) firstWrites.set(v, step);
  });
  for (const [, value] of assigns) {
    const held = storage(asGraphValue(value));
    if (!firstWrites.has(held)) reads.set(held, Infinity); // a leaf that is copied at the end
  }

  const leaves = new Map<Tensor, GraphValue>();
  for (const v of reads.keys()) if (v.node.leaf?.kind === "tensor") leaves.set(v.node.leaf.tensor, v);
  const placed = new Map<GraphValue, Tensor | Value>();
  const inPlace = new Map<GraphNode, GraphValue[]>();
  const targets = new Set<Tensor | Value>();
  for (const [target, value] of assigns) {
    if (targets.has(target)) throw new Error(`"${target.name}" is assigned twice`);
    if (formatType(target.type) !== formatType(value.type)) {
      throw new Error(`"${target.name}" is ${formatType(target.type)}; it cannot hold "${value.name}", ${formatType(value.type)}`);
    }
    targets.add(target);
    const held = storage(asGraphValue(value));
    const write = firstWrites.get(held);
    if (write === undefined || outputs.has(held) || placed.has(held) || byteLength(held.type) !== byteLength(target.type)) continue;
    const old = target instanceof Tensor ? leaves.get(target) : asGraphValue(target);
    const lastRead = (old && reads.get(old)) ?? -1;
    const node = nodes[write]!;
    if (lastRead === write && old && overwrites(node, held, old, storage)) inPlace.set(node, [...(inPlace.get(node) ?? []), held]);
    else if (lastRead >= write) continue;
    placed.set(held, target);
  }
  for (const [node, values] of inPlace) {
    if (values.length === node.kernel!.inPlaceCount) continue;
    for (const v of values) placed.delete(v);
    inPlace.delete(node);
  }
  const isPlaced = ([target, value]: Assign): boolean => placed.get(storage(asGraphValue(value))) === target;
  return { placed, overwriting: new Set(inPlace.keys()), copies: assigns.filter((a) => !isPlaced(a)) };
}

/** Whether the op can write `held` over `old`, which it reads in that one place only. */
function overwrites(
  { kernel, inputs, attributes }: GraphNode,
  held: GraphValue,
  old: GraphValue,
  storage: (value: GraphValue) => GraphValue,
): boolean {
  const place = kernel?.inPlace(held.output, attributes);
  const reading = inputs.flatMap((v, i) => (v && storage(v) === old ? [i] : []));
  return place !== undefined && reading.length === 1 && reading[0] === place;
}
