import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { lookup } from "../../engine/nn/leaf-store.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { HostArray, ProgramOptions } from "../../engine/runtime/program.ts";
import { type Bench, type Prepared, type RowName, measureTask, prepareProgram } from "../task.ts";

/** A model under the name that its rows carry. */
export interface BenchModel {
  readonly name: string;
  readonly model: StableDiffusion;
}

/**
 * Records a program of a model and uploads the weights it needs, in one step; makes the program in a second, whose time is
 * planning and compiling alone.
 */
export async function recorded(
  model: StableDiffusion,
  label: string,
  record: (g: Graph) => ProgramOptions,
  inputs: Readonly<Record<string, HostArray>> = {},
): Promise<() => Promise<Prepared>> {
  const { textEncoder, unet, vae } = model.parts;
  const all = [textEncoder.parameters, unet.parameters, vae.parameters];
  const graph = new Graph();
  const options = record(graph);
  for (const p of all) await p.load();
  await model.device.settle();
  return () => prepareProgram(model.device, graph, { label, parameters: lookup(...all), ...options }, inputs);
}

/** What is recorded on a graph, and its inputs; those that are left out are zero. */
export type ToMeasure = readonly [record: (g: Graph) => ProgramOptions, inputs?: () => Readonly<Record<string, HostArray>>];

/** Measures a recorded program of a model, if its row is wanted. @throws as `measureTask` */
export async function measureRecorded(
  bench: Bench,
  model: StableDiffusion,
  row: RowName,
  ...[record, inputs]: ToMeasure
): Promise<void> {
  if (bench.wants(row.name)) await measureTask(bench, row, await recorded(model, `${row.name} ${row.direction}`, record, inputs?.()));
}

/** Fresh numbers, uniform with variance 1. */
export function noise(count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => (2 * Math.random() - 1) * Math.sqrt(3));
}
