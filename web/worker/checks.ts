/** What the Kernels tab runs: is this device right, and how fast is it. */
import type { Value } from "../../kernels/kernel.ts";
import { attention } from "../../kernels/attention.ts";
import { activation } from "../../kernels/activation.ts";
import { conv2d } from "../../kernels/conv2d.ts";
import { groupNorm } from "../../kernels/group-norm.ts";
import { layerNorm } from "../../kernels/layer-norm.ts";
import { matmul } from "../../kernels/matmul.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { Program } from "../../engine/runtime/program.ts";
import { costOf, makeSchedule } from "../../engine/runtime/schedule.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { verify, type VerifyResult } from "../../engine/verify/index.ts";
import { createClipTokenizer } from "../../tokenizer/index.ts";
import type { BenchRow } from "../protocol.ts";
import type { Job } from "./job.ts";
import type { Library } from "./library.ts";
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

interface BenchCase {
  readonly name: string;
  readonly build: (g: Graph) => Value;
}

const input = (g: Graph, name: string, ...shape: number[]): Value => g.input(name, { shape, dtype: "f32" });

/** Layers of Stable Diffusion 1.x at 256x256 pixels, small enough for any device. */
const CASES: readonly BenchCase[] = [
  { name: "matmul 512 x 512 x 512", build: (g) => matmul(g, input(g, "a", 512, 512), input(g, "b", 512, 512)) },
  { name: "matmul 1024 x 320 x 1280", build: (g) => matmul(g, input(g, "a", 1024, 320), input(g, "b", 320, 1280)) },
  { name: "conv2d 3x3, 64 to 64, 64x64", build: (g) => conv2d(g, input(g, "x", 1, 64, 64, 64), input(g, "w", 3, 3, 64, 64), { padding: 1 }) },
  { name: "attention, 256 tokens, 8 heads of 40", build: (g) => attention(g, input(g, "q", 1, 256, 320), input(g, "k", 1, 256, 320), input(g, "v", 1, 256, 320), { heads: 8 }) },
  { name: "group norm, 32x32x320", build: (g) => groupNorm(g, input(g, "x", 1, 32, 32, 320), input(g, "scale", 320), input(g, "shift", 320), { groups: 32, epsilon: 1e-5 }) },
  { name: "layer norm, 1024 x 320", build: (g) => layerNorm(g, input(g, "x", 1024, 320), input(g, "scale", 320), input(g, "shift", 320), { epsilon: 1e-5 }) },
  { name: "silu, 4 million", build: (g) => activation(g, input(g, "x", 4, 1024, 1024), "silu") },
];

/** Runs are repeated for about this long. */
const BENCH_MILLISECONDS = 400;

/** Times a few kernels from queueing to the device's word that it is done; the best of several batches. */
export async function bench(device: Device, job: Job<"bench">): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const one of CASES) {
    job.signal.throwIfAborted();
    const row = await benchCase(device, one);
    rows.push(row);
    job.news(row);
  }
  return rows;
}

async function benchCase(device: Device, { name, build }: BenchCase): Promise<BenchRow> {
  const graph = new Graph();
  const output = build(graph);
  const { steps } = makeSchedule(graph, [output], device.capabilities);
  const cost = steps.map((s) => costOf(s.node)).reduce((a, b) => ({ flops: a.flops + b.flops, bytes: a.bytes + b.bytes }));
  const kernels = [...new Set(steps.flatMap((s) => s.plan.dispatches.map((d) => d.shader.name)))].join(", ");
  const program = await Program.create(device, graph, { outputs: { output }, label: `bench ${name}` });
  try {
    const batch = async (runs: number): Promise<number> => {
      const started = performance.now();
      for (let i = 0; i < runs; i++) program.run({});
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
