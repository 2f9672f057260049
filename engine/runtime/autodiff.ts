import { add, multiply } from "../../kernels/elementwise.ts";
import { type Value, formatType, sameShape, elementCount } from "../../kernels/kernel.ts";
import { lossScale, scaleBy } from "../../kernels/loss-scale.ts";
import { type Graph, type GraphNode, type GraphValue, asGraphValue } from "./graph.ts";

/**
 * Reverse-mode differentiation: records the gradient of `of` for each of `wanted` on the same graph.
 *
 * Only nodes between the two are visited: downstream of a wanted value and upstream of `of`. Nodes of a recompute region
 * are recorded a second time before their gradients, from the region's inputs. What was recorded `precise` has a precise gradient.
 *
 * @param seed cotangent of `of`; without it `of` must be a scalar and the seed is 1.
 * @param rescaleAt values whose gradient is brought near 1 by a power of two as it passes, for rules that round it to f16 (gradients of a
 *   real UNet are some 1e-8, below f16's smallest number). The powers are divided out of what is returned. Give the prediction, and
 *   whatever lies where sizes change much.
 * @param complete called with a wanted one's gradient as soon as nothing more comes to it, before what lies further down is differentiated:
 *   what is recorded here (an optimiser's step) runs there, so that its memory is free for the next. Not called for what `of` does not
 *   depend on.
 * @returns one value per wanted one, of its shape; undefined where `of` does not depend on it.
 * @throws Error if an op on the way has no gradient, naming it and its module path.
 */
export function gradients(
  graph: Graph,
  of: Value,
  wanted: readonly Value[],
  seed?: Value,
  rescaleAt: readonly Value[] = [],
  complete?: (gradient: GraphValue, index: number) => void,
): (GraphValue | undefined)[] {
  const target = asGraphValue(of);
  const leaves = wanted.map(asGraphValue);
  if (seed === undefined && elementCount(target.type.shape) !== 1) {
    throw new Error(`gradients: "${target.name}" is ${formatType(target.type)}, not a scalar; give a seed`);
  }
  if (seed !== undefined && !sameShape(seed.type.shape, target.type.shape)) {
    throw new Error(`gradients: the seed is ${formatType(seed.type)} but "${target.name}" is ${formatType(target.type)}`);
  }
  const onPath = nodesBetween(graph, leaves, target);
  const cotangents = new Map<GraphValue, GraphValue>();
  const scales = new Scales(graph, rescaleAt);
  const accumulate = (value: GraphValue, cotangent: Value, fresh: number, scale?: GraphValue) => {
    const known = cotangents.get(value);
    const { kept, added } = scales.meet(value, known, asGraphValue(cotangent), scale);
    cotangents.set(value, kept ? sum(graph, kept, added, fresh) : added);
  };
  accumulate(target, seed ?? graph.constant("gradient.seed", target.type.shape, new Float32Array([1])), graph.nodes.length);

  const replay = new Replay(graph, onPath);
  const wantedSet = new Set(leaves);
  const last = lastVisits(graph, leaves, onPath);
  const differentiate = (node: GraphNode): void => {
    if (!onPath.has(node.id) || !node.kernel) return;
    if (!node.outputs.some((v) => cotangents.has(v))) return;
    const scale = scales.ofNode(node, cotangents);
    const dy = node.outputs.map((v) => cotangents.get(v));
    const op = `op "${node.kernel.name}" (${node.name})`;
    if (!node.kernel.hasGradient) throw new Error(`gradients: ${op} has no gradient rule`);
    const needs = node.inputs.map((v) => v !== undefined && (onPath.has(v.node.id) || wantedSet.has(v)));
    const inputs = node.inputs.map((v) => v && replay.value(v, node));
    const outputs = node.outputs.map((v) => replay.value(v, node));
    const fresh = graph.nodes.length;
    const rule = (): readonly (Value | undefined)[] =>
      node.kernel!.gradient(dy, { g: graph, inputs, outputs, attributes: node.attributes, wanted: needs });
    const dx = graph.scope(`gradient.${node.name}`, () => graph.precise(rule, node.precise));
    node.inputs.forEach((input, i) => {
      if (!needs[i] || !input) return;
      const cotangent = dx[i];
      if (!cotangent) {
        throw new Error(`gradients: ${op} gave none for input ${i} (${input.name})`);
      }
      if (!sameShape(cotangent.type.shape, input.type.shape)) {
        throw new Error(`gradients: ${op} gave ${formatType(cotangent.type)} for input ${i} of ${formatType(input.type)}`);
      }
      const twice = dx.indexOf(cotangent) !== dx.lastIndexOf(cotangent);
      accumulate(input, cotangent, twice ? graph.nodes.length : fresh, scale);
    });
    if (!node.outputs.some((v) => wantedSet.has(v))) for (const v of node.outputs) cotangents.delete(v);
  };
  for (const node of graph.nodes.slice(0, target.node.id + 1).toReversed()) {
    differentiate(node);
    for (const index of complete ? (last.get(node.id) ?? []) : []) {
      const gradient = scales.divideOut(leaves[index]!, cotangents.get(leaves[index]!));
      if (gradient) complete?.(gradient, index);
    }
  }
  return leaves.map((v) => scales.divideOut(v, cotangents.get(v)));
}

/**
 * known + cotangent. If the op that made the cotangent can add another tensor to its result, it is recorded again with that one
 * and the first recording goes unused: a tenth of a UNet's gradient is such sums.
 * @param fresh id of the first node that the rule at hand recorded; what is older may be somebody else's too
 */
function sum(graph: Graph, known: GraphValue, cotangent: GraphValue, fresh: number): GraphValue {
  const { kernel, inputs, attributes, outputs, id, precise } = cotangent.node;
  const place = id >= fresh && outputs.length === 1 ? kernel?.addend(attributes) : undefined;
  const otherUse = (): boolean => graph.nodes.slice(id + 1).some((n) => n.inputs.includes(cotangent));
  if (!kernel || place === undefined || inputs[place] !== undefined || otherUse()) return asGraphValue(add(graph, known, cotangent));
  const withSum = [...inputs];
  withSum[place] = known;
  return graph.applyPlaced(kernel, withSum, attributes, precise)[0]!;
}

/** By node: the wanted values (by index) whose gradient is complete when that node is differentiated, since none before it reads them. */
function lastVisits(graph: Graph, leaves: readonly GraphValue[], onPath: ReadonlySet<number>): Map<number, number[]> {
  const firstReader = new Map<GraphValue, number>();
  for (const node of graph.nodes) {
    if (node.kernel && onPath.has(node.id)) for (const v of node.inputs) if (v && !firstReader.has(v)) firstReader.set(v, node.id);
  }
  const visits = new Map<number, number[]>();
  leaves.forEach((v, index) => {
    const id = firstReader.get(v);
    if (id !== undefined) visits.set(id, [...(visits.get(id) ?? []), index]);
  });
  return visits;
}

function nodesBetween(graph: Graph, leaves: readonly GraphValue[], target: GraphValue): Set<number> {
  const downstream = new Set(leaves.map((v) => v.node.id));
  for (const node of graph.nodes) {
    if (node.inputs.some((v) => v !== undefined && downstream.has(v.node.id))) downstream.add(node.id);
  }
  const upstream = new Set<number>([target.node.id]);
  for (const node of graph.nodes.slice(0, target.node.id + 1).toReversed()) {
    if (upstream.has(node.id)) for (const v of node.inputs) if (v) upstream.add(v.node.id);
  }
  return new Set([...downstream].filter((id) => upstream.has(id)));
}

/** The power of two in each cotangent, of those that were rescaled. */
class Scales {
  private readonly byValue = new Map<GraphValue, GraphValue>();
  private readonly points: ReadonlySet<GraphValue>;

  constructor(private readonly graph: Graph, points: readonly Value[]) {
    this.points = new Set(points.map(asGraphValue));
  }

  /** Rescales those outputs' cotangents that are to be, and gives the one scale that all of the node's then have. */
  ofNode(node: GraphNode, cotangents: Map<GraphValue, GraphValue>): GraphValue | undefined {
    const outputs = node.outputs.filter((v) => cotangents.has(v));
    for (const v of outputs) if (this.points.has(v)) this.rescale(v, cotangents);
    const scale = this.byValue.get(outputs[0]!);
    if (outputs.every((v) => this.byValue.get(v) === scale)) return scale;
    for (const v of outputs) {
      cotangents.set(v, this.divideOut(v, cotangents.get(v))!);
      this.byValue.delete(v);
    }
    return undefined;
  }

  /** What is known of a value's cotangent and what is added to it, in one scale. */
  meet(
    value: GraphValue,
    known: GraphValue | undefined,
    added: GraphValue,
    scale: GraphValue | undefined,
  ): { kept: GraphValue | undefined; added: GraphValue } {
    if (!known || this.byValue.get(value) === scale) {
      if (scale) this.byValue.set(value, scale);
      return { kept: known, added };
    }
    const kept = this.divideOut(value, known);
    this.byValue.delete(value);
    return { kept, added: scale ? asGraphValue(scaleBy(this.graph, added, scale, true)) : added };
  }

  /** A value's cotangent as it is without its scale. */
  divideOut(value: GraphValue, cotangent: GraphValue | undefined): GraphValue | undefined {
    const scale = this.byValue.get(value);
    return scale && cotangent ? asGraphValue(scaleBy(this.graph, cotangent, scale, true)) : cotangent;
  }

  private rescale(value: GraphValue, cotangents: Map<GraphValue, GraphValue>): void {
    const { graph } = this;
    graph.scope(`gradient.${value.name}`, () => {
      const cotangent = cotangents.get(value)!;
      const power = lossScale(graph, cotangent);
      const before = this.byValue.get(value);
      cotangents.set(value, asGraphValue(scaleBy(graph, cotangent, power)));
      this.byValue.set(value, asGraphValue(before ? multiply(graph, before, power) : power));
    });
  }
}

/** Second recording of recompute regions, on demand and once per region. */
class Replay {
  private readonly copies = new Map<number, Map<GraphValue, GraphValue>>();
  private readonly byRegion = new Map<number, GraphNode[]>();

  constructor(private readonly graph: Graph, onPath: ReadonlySet<number>) {
    for (const node of graph.nodes) {
      if (node.region === undefined) continue;
      // A region that no gradient passes through is never replayed.
      const list = this.byRegion.get(node.region) ?? [];
      list.push(node);
      this.byRegion.set(node.region, list);
    }
    for (const [region, list] of this.byRegion) if (!list.some((n) => onPath.has(n.id))) this.byRegion.delete(region);
  }

  /** What a gradient rule of `user` should read for `value`: the copy if both belong to one region, the value itself otherwise. */
  value(value: GraphValue, user: GraphNode): GraphValue {
    const region = user.region;
    if (region === undefined || value.node.region !== region) return value;
    let copies = this.copies.get(region);
    if (!copies) {
      copies = new Map();
      this.copies.set(region, copies);
      for (const node of this.byRegion.get(region)!) {
        const inputs = node.inputs.map((v) => v && (copies!.get(v) ?? v));
        const outputs = this.graph.scope(
          `recompute.${node.name}`,
          () => this.graph.applyPlaced(node.kernel!, inputs, node.attributes, node.precise),
        );
        node.outputs.forEach((v, i) => copies!.set(v, outputs[i]!));
      }
    }
    return copies.get(value)!;
  }
}
