import { type TensorType, type Value, f32, isInPanels } from "../../kernels/kernel.ts";
import { packHalves, relayout, weightType } from "../../engine/nn/weight-layout.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { HostArray, Program } from "../../engine/runtime/program.ts";
import { relativeError } from "../../engine/runtime/relative-error.ts";
import { type OpCase } from "../ops/cases.ts";
import { type OpData, opData, opInputs, outputShape, recordOp, wantedGradients } from "../ops/record.ts";
import { measureInterleaved } from "../measure.ts";
import { toOihw } from "../peers/jax.ts";
import type { Peer, PeerRun } from "../peers/peer.ts";
import type { Direction } from "../results.ts";
import { type Bench, type Prepared, type RowName, Task, measureTask, prepareProgram, timesOf } from "../task.ts";

/** Results of another engine may differ from ours by this much (relative L2) before they count as another computation. */
const SAME = 1e-3;

const DIRECTIONS: readonly Direction[] = ["forward", "forward+gradient"];

/** A weight [in, out] or [kernelHeight, kernelWidth, in, out] as the models keep it on the device. */
function inPanels(weight: Float32Array, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const [height, width, inner, out] = shape.length === 4 ? shape : [1, 1, ...shape];
  return relayout(toOihw(weight, [height!, width!, inner!, out!]), [out!, inner!, height!, width!], "conv", true);
}

/** A case on our engine: a program whose outputs are the result and, with gradient, the gradients of the activations. */
export async function prepareOp(
  device: Device,
  { name, shape }: OpCase,
  direction: Direction,
  data: OpData,
  weights: "f32" | "f16" = "f32",
): Promise<Prepared & { readonly program: Program }> {
  const graph = new Graph();
  const host: Record<string, HostArray> = {};
  const values: Record<string, Value> = {};
  for (const [input, spec] of Object.entries(opInputs(shape))) {
    const type: TensorType =
      input === "weight" ? weightType(spec.shape, spec.shape.length === 4 ? "conv" : "linear", weights) : f32(spec.shape);
    values[input] = graph.input(input, type);
    const numbers = isInPanels(type) ? inPanels(data.inputs[input]!, spec.shape) : data.inputs[input]!;
    host[input] = type.dtype === "f16" ? packHalves(numbers) : numbers;
  }
  const result = recordOp(graph, shape, values);
  const outputs: Record<string, Value> = { result };
  if (direction === "forward+gradient") {
    const wanted = wantedGradients(shape);
    const cotangent = graph.input("cotangent", { shape: outputShape(shape), dtype: "f32" });
    gradients(graph, result, wanted.map((n) => values[n]!), cotangent).forEach((g, i) => {
      if (!g) throw new Error(`${name}: no gradient of ${wanted[i]}`);
      outputs[`gradient of ${wanted[i]}`] = g;
    });
    host["cotangent"] = data.cotangent;
  }
  return prepareProgram(device, graph, { outputs, label: `${name} ${direction}` }, host);
}

/** Name of the output that is compared with other engines'. */
export function comparedOutput(shape: OpCase["shape"], direction: Direction): string {
  return direction === "forward" ? "result" : `gradient of ${wantedGradients(shape)[0]}`;
}

/** Every case, forward and with gradient, on our engine and the peers, a sample of each in turn. */
export async function runOps(bench: Bench, cases: readonly OpCase[], peers: readonly Peer[], weights: "f32" | "f16"): Promise<void> {
  for (const one of cases) {
    for (const direction of DIRECTIONS) {
      const row: RowName = { suite: "ops", model: one.model, name: one.name, direction };
      if (!bench.wants(row.name)) continue;
      const data = opData(one.shape);
      if (peers.length === 0) await measureTask(bench, row, () => prepareOp(bench.device, one, direction, data, weights));
      else await runWithPeers(bench, row, one, data, peers, weights);
    }
  }
}

async function runWithPeers(
  bench: Bench,
  row: RowName,
  one: OpCase,
  data: OpData,
  peers: readonly Peer[],
  weights: "f32" | "f16",
): Promise<void> {
  const { device } = bench;
  bench.begin(`${row.name} ${row.direction === "forward" ? "" : "with gradient"}`.trim());
  let program: Program | undefined;
  const task = await Task.prepare(bench, row, async () => {
    const prepared = await prepareOp(device, one, row.direction, data, weights);
    program = prepared.program;
    return prepared;
  });
  const { work } = task.prepared;
  const runs: { readonly run: PeerRun; readonly wrong: number | undefined }[] = [];
  const refused = (engine: string, error: string): void => bench.add({ ...row, engine, ...work, error });
  try {
    await task.run(1);
    const expected = await program!.readFloats(comparedOutput(one.shape, row.direction));
    for (const peer of peers) {
      if (row.direction === "forward+gradient" && !peer.gradients) continue;
      try {
        const made = await peer.prepare(one.shape, row.direction, data);
        if (typeof made === "string") refused(peer.name, made);
        else for (const run of made) runs.push(...(await checked(run, expected, refused)));
      } catch (error) {
        refused(peer.name, errorMessage(error));
      }
    }
    const [ours, ...theirs] = await measureInterleaved([task, ...runs.map((r) => r.run)], bench.measure);
    device.check();
    bench.add(task.finish(ours!));
    theirs.forEach((measured, i) => {
      const { run: { name: engine, note }, wrong } = runs[i]!;
      if (measured instanceof Error) return refused(engine, measured.message);
      bench.add({
        ...row,
        engine,
        ...work,
        ...(note !== undefined && { note }),
        ...(wrong !== undefined && { wrong }),
        ...timesOf(measured, work, bench),
        firstRunMs: measured.firstRunMs,
      });
    });
    await task.profile();
  } finally {
    for (const { run } of runs) await run.destroy();
    task.prepared.destroy?.();
  }
}

/**
 * The run as a list of one, with its error if it computes something else than we do; of none, with a row that says why, if it does not run.
 */
async function checked(
  run: PeerRun,
  expected: Float32Array,
  refused: (engine: string, error: string) => void,
): Promise<readonly { readonly run: PeerRun; readonly wrong: number | undefined }[]> {
  try {
    await run.run(1);
    const actual = await run.read();
    if (actual.length !== expected.length) throw new Error(`gives ${actual.length} numbers, not ${expected.length}`);
    const error = relativeError(actual, expected);
    if (!Number.isFinite(error)) throw new Error("gives numbers that are not finite");
    return [{ run, wrong: error <= SAME ? undefined : error }];
  } catch (error) {
    refused(run.name, errorMessage(error));
    await run.destroy();
    return [];
  }
}
