import { availableParallelism } from "node:os";
import type { Measured } from "./measure.ts";
import { sixDigits } from "./statistics.ts";

/**
 * What a run's time is taken to be for rates and comparisons. "wall": the clock. "cpu": CPU time of all threads divided by the cores, which
 * is what the run would take if all cores were free; for software adapters, where the clock measures whatever else the machine does.
 */
export type Basis = { readonly kind: "wall" } | { readonly kind: "cpu"; readonly cores: number };

/** @param software whether the adapter runs on the CPU */
export function basisOf(software: boolean): Basis {
  return software ? { kind: "cpu", cores: availableParallelism() } : { kind: "wall" };
}

/** Milliseconds per run by the basis. */
export function basisMs({ wall, cpu }: Pick<Measured, "wall" | "cpu">, basis: Basis): number {
  return basis.kind === "wall" ? wall.median : cpu.median / basis.cores;
}

/** The fastest sample by the basis. */
export function leastMs({ wall, cpu }: Pick<Measured, "wall" | "cpu">, basis: Basis): number {
  return basis.kind === "wall" ? wall.min : cpu.min / basis.cores;
}

/** Work of one run, by the kernels' own count: operations (a multiply-add is two), and bytes if every operand moved once. */
export interface Work {
  readonly flops: number;
  readonly bytes: number;
}

/** What the adapter can do at best, measured (fastest samples): the ceilings of the roofline (Williams et al., CACM 2009). */
export interface Peak {
  /** 10^9 f32 operations per second of multiply-adds in registers. */
  readonly gflops: number;
  /** The same in f16 arithmetic; absent without shader-f16. */
  readonly gflopsF16?: number;
  /** 10^9 bytes read and written per second by a copy of large buffers. */
  readonly gbps: number;
}

/** How fast work was done, and how that compares with what the adapter can do. */
export interface Rates {
  /** By the basis's time. */
  readonly gflops: number;
  readonly gbps: number;
  /** Of the adapter's measured multiply-add rate. */
  readonly shareOfPeak: number;
  /**
   * Of the rate that the adapter's peaks allow for this work: the larger of operations over peak and bytes over peak, divided by the time.
   * Above 1 where data stays in a cache.
   */
  readonly shareOfRoofline: number;
}

/** @param ms milliseconds per run */
export function rates({ flops, bytes }: Work, ms: number, peak: Peak): Rates {
  const gflops = flops / 1e6 / ms;
  const gbps = bytes / 1e6 / ms;
  return {
    gflops: sixDigits(gflops),
    gbps: sixDigits(gbps),
    shareOfPeak: sixDigits(gflops / peak.gflops),
    shareOfRoofline: sixDigits(Math.max(gflops / peak.gflops, gbps / peak.gbps)),
  };
}
