import type { BenchResult, BenchRow } from "../../bench/results.ts";
import { summarize } from "../../bench/statistics.ts";

/** A row whose wall time and CPU time per run have these samples (two cores' worth of CPU). */
export function row(name: string, samples: readonly number[], more: Partial<BenchRow> = {}): BenchRow {
  const flops = 1e9;
  const ms = summarize(samples).median;
  return {
    suite: "ops",
    model: "emoji",
    name,
    direction: "forward",
    engine: "lethe",
    flops,
    bytes: 1e6,
    wall: summarize(samples),
    cpu: summarize(samples.map((x) => 2 * x)),
    batch: 1,
    rates: { gflops: flops / 1e6 / ms, gbps: 1 / ms, shareOfPeak: 0.25, shareOfRoofline: 0.5 },
    ...more,
  };
}

export function failedRow(name: string, error: string, more: Partial<BenchRow> = {}): BenchRow {
  return { suite: "ops", model: "emoji", name, direction: "forward", engine: "lethe", flops: 0, bytes: 0, error, ...more };
}

export function result(rows: readonly BenchRow[], more: Partial<BenchResult> = {}): BenchResult {
  return {
    format: "lethe-bench",
    version: 1,
    stamp: {
      date: "2026-01-31T12:00:00.000Z",
      commit: "0123456789ab",
      adapter: {
        description: 'made-up <adapter> & "co"',
        driver: "1.0",
        vendor: "v",
        architecture: "a",
        device: "d",
        software: true,
        subgroupSize: 8,
        features: [],
      },
      versions: { lethe: "0.1.0", node: "20.0.0", webgpu: "0.6.2" },
      machine: { platform: "linux", arch: "x64", cpu: "some CPU", cores: 2, memoryBytes: 1e9, load: 0 },
      options: { weights: "f32" },
    },
    basis: { kind: "cpu", cores: 2 },
    peak: { gflops: 100, gbps: 10 },
    peers: [],
    rows,
    ...more,
  };
}

export const PEERS: BenchResult["peers"] = [
  { name: "tfjs", version: "4.0.0", webgpu: true, gradients: true, absent: null },
  { name: "ort-webgpu", version: "1.0.0", webgpu: true, gradients: false, absent: null },
  { name: "ort-cpu", version: "1.0.0", webgpu: false, gradients: false, absent: null },
  { name: "jax-js", version: null, webgpu: true, gradients: false, absent: "not installed" },
];
