/** What the Kernels tab runs: is this device right, and how fast is it. */
import type { Value } from "../../kernels/kernel.ts";
import { EMOJI_CASES, type OpCase, sd14Cases } from "../../bench/ops/cases.ts";
import { opInputs, recordOp } from "../../bench/ops/record.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { Program } from "../../engine/runtime/program.ts";
import { costOf, makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { verify, type VerifyResult } from "../../engine/verify/index.ts";
import { createClipTokenizer } from "../../tokenizer/index.ts";
import type { BenchRow } from "../protocol.ts";
import type { Job } from "./job.ts";
import type { Library } from "./files/library.ts";
import type { Session } from "./session.ts";

/** Compares the bundled model with its reference outputs. */
export async function verifyBundled(session: Session, library: Library, job: Job<"verify">): Promise<VerifyResult> {
  await session.unload();
  return verify({
    files: library.files,
    golden: "emoji/reference/reference.json",
    model: "emoji",
    device: () => session.device(),
    clipTokenizer: async () => createClipTokenizer(await session.clipMerges()),
    onRow: (row) => {
      job.signal.throwIfAborted();
      job.news(row);
    },
  });
}

/** Runs are repeated for about this long. */
const BENCH_MILLISECONDS = 300;

/**
 * Times the layers of a UNet (the bundled model's on a software adapter, Stable Diffusion 1.4's on a GPU), named as the command line's
 * bench names them:
 * from queueing to the device's word that it is done, the best of several batches.
 */
export async function bench(device: Device, job: Job<"bench">): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const one of device.info.software ? EMOJI_CASES : sd14Cases(64)) {
    job.signal.throwIfAborted();
    const row = await benchCase(device, one);
    rows.push(row);
    job.news(row);
  }
  return rows;
}

async function benchCase(device: Device, { name, shape }: OpCase): Promise<BenchRow> {
  const graph = new Graph();
  const values: Record<string, Value> = {};
  for (const [input, { shape: size }] of Object.entries(opInputs(shape))) values[input] = graph.input(input, { shape: size, dtype: "f32" });
  const output = recordOp(graph, shape, values);
  const { steps } = makeSchedule(graph, [output], device.capabilities);
  const cost = steps.map((s) => costOf(s)).reduce((a, b) => ({ flops: a.flops + b.flops, bytes: a.bytes + b.bytes }));
  const kernels = [...new Set(steps.flatMap((s) => s.plan.dispatches.map((d) => d.shader.name)))].join(", ");
  const program = await Program.create(device, graph, { outputs: { output }, label: `bench ${name}` });
  try {
    const batch = async (runs: number): Promise<number> => {
      const started = performance.now();
      for (let i = 0; i < runs; i++) await program.run({});
      await device.settle();
      return (performance.now() - started) / runs;
    };
    await batch(1); // compiles
    const runs = Math.max(1, Math.min(50, Math.round(BENCH_MILLISECONDS / 4 / (await batch(1)))));
    let best = Infinity;
    for (let i = 0; i < 4; i++) best = Math.min(best, await batch(runs));
    return { name, kernels, milliseconds: best, gflops: cost.flops / best / 1e6, gigabytesPerSecond: cost.bytes / best / 1e6 };
  } finally {
    program.destroy();
  }
}
