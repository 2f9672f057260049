import { Objective } from "../../engine/attack/search/objective.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { costOf, makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import type { ProgramOptions } from "../../engine/runtime/program.ts";
import type { BenchRow, Direction } from "../results.ts";
import { recordUNet } from "../suites/unet.ts";
import { CARD_CAPABILITIES, type Card } from "./cards.ts";

/** Ops whose operands go through matrix units where products are in f16. */
const PRODUCTS: ReadonlySet<string> = new Set([
  "matmul", "matmul-geglu", "conv2d", "conv2d-gradient", "weight-gradient", "attention", "attention-gradient",
]);

/** All ops of one kind in a pass. */
export interface PredictedOp {
  readonly op: string;
  readonly count: number;
  readonly flops: number;
  readonly bytes: number;
  /** Of this op at the ceiling that bounds it, launches included. */
  readonly milliseconds: number;
  /** What bounds most of its time. */
  readonly bound: "arithmetic" | "memory" | "launch";
}

/** A pass as a card would run it if every kernel reached the card's ceiling. */
export interface Prediction {
  /** As the bench names the row. */
  readonly row: Pick<BenchRow, "suite" | "name" | "direction">;
  readonly milliseconds: number;
  readonly dispatches: number;
  readonly flops: number;
  readonly bytes: number;
  /** Slowest first. */
  readonly ops: readonly PredictedOp[];
}

/**
 * The roofline (Williams et al., CACM 2009) of every op of a pass, added up: the larger of operations over the card's rate and bytes over
 * its bandwidth, and a launch for each dispatch. It knows no tile, no idle processor and no cache, so a real pass takes longer; an op that
 * takes many times as long as here is the one to look at.
 * @param half products have f16 operands and run on matrix units
 */
export function predictGraph(graph: Graph, { outputs, assigns }: ProgramOptions, card: Card, half: boolean): Omit<Prediction, "row"> {
  const { steps } = makeSchedule(graph, Object.values(outputs), { ...CARD_CAPABILITIES, halfActivations: half }, assigns);
  const byOp = new Map<string, { count: number; flops: number; bytes: number; arithmetic: number; memory: number; launch: number }>();
  for (const step of steps) {
    const op = step.node.kernel!.name;
    const sum = byOp.get(op) ?? { count: 0, flops: 0, bytes: 0, arithmetic: 0, memory: 0, launch: 0 };
    const { flops, bytes } = costOf(step);
    const arithmetic = flops / 1e6 / (half && PRODUCTS.has(op) ? card.matrixGflops : card.gflops);
    const memory = bytes / 1e6 / card.gbps;
    sum.count++;
    sum.flops += flops;
    sum.bytes += bytes;
    sum[arithmetic > memory ? "arithmetic" : "memory"] += Math.max(arithmetic, memory);
    sum.launch += (step.plan.dispatches.length * card.launchMicroseconds) / 1000;
    byOp.set(op, sum);
  }
  const ops = [...byOp].map(([op, { count, flops, bytes, arithmetic, memory, launch }]): PredictedOp => ({
    op, count, flops, bytes,
    milliseconds: arithmetic + memory + launch,
    bound: launch > Math.max(arithmetic, memory) ? "launch" : arithmetic > memory ? "arithmetic" : "memory",
  }));
  const total = (of: (op: PredictedOp) => number): number => ops.reduce((n, op) => n + of(op), 0);
  return {
    milliseconds: total((op) => op.milliseconds),
    dispatches: steps.reduce((n, s) => n + s.plan.dispatches.length, 0),
    flops: total((op) => op.flops),
    bytes: total((op) => op.bytes),
    ops: ops.toSorted((a, b) => b.milliseconds - a.milliseconds),
  };
}

/**
 * The rows of the unet suite, and a whole attack iteration, under the bench's own names.
 * @param tokens adversarial ones of the iteration
 */
export function predictModel(
  model: StableDiffusion,
  sizes: readonly number[],
  batches: readonly number[],
  tokens: number,
  card: Card,
  half: boolean,
): Prediction[] {
  const length = model.tokenizer.maxLength;
  const unet = (size: number, batch: number, direction: Direction): Prediction => {
    const g = new Graph();
    const options = recordUNet(g, model, size, batch, direction !== "forward");
    return { row: { suite: "unet", name: `UNet @${size} batch ${batch}`, direction }, ...predictGraph(g, options, card, half) };
  };
  const iteration = (size: number): Prediction => ({
    row: { suite: "attack", name: `iteration @${size} k=${tokens}`, direction: "forward+gradient" },
    ...Objective.recorded(
      model,
      { tokens, length, height: size, width: size, loss: "mse", projection: "exact" },
      (g, options) => predictGraph(g, options, card, half),
    ),
  });
  return sizes.flatMap((size) => [
    ...batches.map((batch) => unet(size, batch, "forward")),
    unet(size, batches[0]!, "forward+gradient"),
    iteration(size),
  ]);
}
