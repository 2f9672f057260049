import {
  type Capabilities, type TensorType, type Value, byteLength, columnsOf, formatType,
} from "../../../kernels/kernel.ts";
import { UsageError } from "../errors.ts";
import { type Graph, type GraphNode, type GraphValue, asGraphValue } from "../graph.ts";
import { type Assign, type PlacedAssigns, placeAssigns } from "./assigns.ts";
import { asHalf, storeHalves } from "./half-storage.ts";
import type { Claim } from "./memory-plan.ts";
import type { Step } from "./step.ts";

export type { Step };

/** A graph cut down to what its outputs need, in running order, with the lifetime of every buffer. */
export interface Schedule {
  readonly steps: readonly Step[];
  readonly leaves: readonly GraphNode[];
  /** The value whose memory holds this one: itself, unless it is a view. */
  storage(value: GraphValue): GraphValue;
  /** What holds the outputs, which outlive the run: memory of their own. */
  readonly kept: readonly GraphValue[];
  /** What is computed right where it is assigned to, and what is copied there at the end. */
  readonly assigns: PlacedAssigns;
  /** Other values with memory: those of the first claims (same index). */
  readonly intermediates: readonly GraphValue[];
  /** Of these, which are stored as f16. */
  readonly halves: ReadonlySet<GraphValue>;
  readonly claims: readonly Claim[];
  /** For scratch j of step i: index into `claims`. */
  readonly scratchClaim: readonly (readonly number[])[];
}

/** @throws UsageError naming a value of a schedule that is larger than one binding of the device */
export function checkBindings(
  { leaves, kept, intermediates, halves }: Schedule,
  { maxStorageBufferBindingSize: limit }: Capabilities,
): void {
  for (const value of [...leaves.flatMap((node) => node.outputs), ...kept, ...intermediates]) {
    const [name, type] = [value.name, halves.has(value) ? asHalf(value.type) : value.type];
    if (byteLength(type) > limit) {
      const size = `${formatType(type)}, ${byteLength(type)} bytes`;
      throw new UsageError(`"${name}" is ${size}; this device binds at most ${limit}: take a smaller batch or picture`);
    }
  }
}

/**
 * Keeps what outputs and assigned values need, plans each op for the device and derives lifetimes.
 * @throws Error for an output that is columns of another tensor; as `placeAssigns`
 */
export function makeSchedule(
  graph: Graph,
  outputs: readonly Value[],
  capabilities: Capabilities,
  assigns: readonly Assign[] = [],
): Schedule {
  const wanted = [...outputs, ...assigns.map(([, value]) => value)].map(asGraphValue);
  const columns = wanted.find((v) => columnsOf(v.type));
  if (columns) throw new Error(`"${columns.name}" is ${formatType(columns.type)}: columns of a wider tensor cannot be read as an output`);
  const live = new Set<number>();
  const stack = wanted.map((v) => v.node);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (live.has(node.id)) continue;
    live.add(node.id);
    for (const v of node.inputs) if (v) stack.push(v.node);
  }
  const nodes = graph.nodes.filter((n) => live.has(n.id));
  const placed = placements(nodes, new Set(wanted));
  const storage = (value: GraphValue): GraphValue => {
    let v = value;
    while (v.node.kernel?.view) v = v.node.inputs[0]!;
    return placed.get(v)?.whole ?? v;
  };
  const reads = new Set([...nodes.flatMap((n) => n.inputs), ...wanted]);
  const isRead = (v: GraphValue): boolean => reads.has(v);
  const typeOf = (v: GraphValue): TensorType => placed.get(v)?.type ?? v.type;
  const ops = nodes.filter((n) => n.kernel && !n.kernel.view);
  const assigned = placeAssigns(ops, storage, assigns, new Set(outputs.map((v) => storage(asGraphValue(v)))));
  const steps: Step[] = ops.map((node) => ({
    node,
    plan: node.kernel!.plan({
      inputs: node.inputs.map((v) => v && typeOf(v)),
      outputs: node.outputs.map(typeOf),
      read: node.outputs.map(isRead),
      attributes: node.attributes,
      // Without a choice of kernels it is the one for devices that nothing is known of, whose operands are f32.
      capabilities: node.precise ? { ...capabilities, gemm: undefined, attention: undefined } : capabilities,
      overwrites: assigned.overwriting.has(node),
    }),
  }));

  const outlives = new Set(wanted.map(storage));
  const kept = new Set<GraphValue>();
  const uses = new Map<GraphValue, { writes: number[]; reads: number[] }>();
  steps.forEach(({ node }, i) => {
    for (const v of node.outputs.filter((o) => isRead(o) || !node.kernel!.sparesOutput(o.output, node.attributes)).map(storage)) {
      if (assigned.placed.has(v)) continue;
      if (outlives.has(v)) kept.add(v);
      else if (uses.has(v)) uses.get(v)!.writes.push(i);
      else uses.set(v, { writes: [i], reads: [] });
    }
    for (const v of node.inputs) if (v) uses.get(storage(v))?.reads.push(i);
  });
  const { halves, steps: stored } = storeHalves(
    steps, storage, capabilities.halfActivations && graph.storesHalves ? uses.keys() : [],
  );
  const claims: Claim[] = [...uses].map(([v, used]) => ({ bytes: byteLength(halves.has(v) ? asHalf(v.type) : v.type), ...used }));
  const claimScratch = (bytes: number, step: number): number =>
    claims.push({ bytes: Math.max(16, Math.ceil(bytes / 16) * 16), writes: [step], reads: [] }) - 1;
  const scratchClaim = steps.map(({ plan }, step) => (plan.scratch ?? []).map((bytes) => claimScratch(bytes, step)));
  return {
    steps: stored,
    leaves: nodes.filter((n) => n.leaf), storage, kept: [...kept], assigns: assigned, intermediates: [...uses.keys()], halves, claims,
    scratchClaim,
  };
}

/**
 * What is written to its place in a join's output at once: the outputs of kernels that write columns, if nothing but the join reads them
 * and they start at whole vec4s.
 */
function placements(
  nodes: readonly GraphNode[],
  outputs: ReadonlySet<GraphValue>,
): Map<GraphValue, { whole: GraphValue; type: TensorType }> {
  const uses = new Map<GraphValue, number>();
  for (const node of nodes) for (const v of node.inputs) if (v) uses.set(v, (uses.get(v) ?? 0) + 1);
  const placed = new Map<GraphValue, { whole: GraphValue; type: TensorType }>();
  for (const join of nodes.filter((n) => n.kernel?.layout === "join")) {
    const whole = join.outputs[0]!;
    const stride = whole.type.shape.at(-1)!;
    let offset = 0;
    for (const part of join.inputs as readonly GraphValue[]) {
      const { kernel, inputs, attributes } = part.node;
      const width = part.type.shape.at(-1)!;
      const aligned = [stride, offset, width].every((n) => n % 4 === 0);
      if (aligned && uses.get(part) === 1 && !outputs.has(part) && kernel?.writesColumns(inputs.map((v) => v?.type), attributes)) {
        placed.set(part, { whole, type: { ...part.type, layout: { stride, offset, of: join.id } } });
      }
      offset += width;
    }
  }
  return placed;
}

/** FLOPs and bytes of a step by its kernel's own count. */
export function costOf({ node, typeOf = (v) => v.type }: Pick<Step, "node" | "typeOf">): { flops: number; bytes: number } {
  const types = node.inputs.map((v) => v?.type);
  const moved = [...node.inputs, ...node.outputs].reduce((n, v) => n + (v ? byteLength(typeOf(v)) : 0), 0);
  const counted = node.kernel?.cost(types, node.outputs.map((v) => v.type), node.attributes) ?? {};
  return { flops: counted.flops ?? 0, bytes: counted.bytes ?? moved };
}
