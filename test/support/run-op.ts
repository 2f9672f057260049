import type { DType, Recorder, Shape, Value } from "../../kernels/kernel.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { type HostArray, Program } from "../../engine/runtime/program.ts";
import { testDevice } from "./device.ts";

export interface RunInput {
  readonly shape: Shape;
  readonly data: HostArray;
  /** By default f32 or u32, as the data is. f16: the data are the packed words. */
  readonly dtype?: DType;
}

/** Runs an op once on the test device, with poisoned memory, and returns its outputs: for checks that are not a relative L2 error. */
export async function runOp(
  inputs: Readonly<Record<string, RunInput>>,
  build: (g: Recorder, v: Readonly<Record<string, Value>>) => readonly Value[],
  label = "op",
): Promise<HostArray[]> {
  const graph = new Graph();
  const values: Record<string, Value> = {};
  const host: Record<string, HostArray> = {};
  for (const [name, { shape, data, dtype }] of Object.entries(inputs)) {
    values[name] = graph.input(name, { shape, dtype: dtype ?? (data instanceof Uint32Array ? "u32" : "f32") });
    host[name] = data;
  }
  const outputs = build(graph, values);
  const program = await Program.create(await testDevice(), graph, {
    outputs: Object.fromEntries(outputs.map((v, i) => [`${i}`, v])),
    poison: true,
    label,
  });
  try {
    await program.run(host);
    const results = await program.read();
    return outputs.map((_, i) => results[`${i}`]!);
  } finally {
    program.destroy();
  }
}
