import type { Device } from "../device.ts";
import type { GraphNode } from "../graph.ts";
import { type Step, costOf } from "../plan/schedule.ts";
import { BufferUsage } from "../buffer-usage.ts";
import { readBuffers } from "../tensor.ts";

/** Time spent in one dispatch. */
export interface ProfileRow {
  /** Shader, which is the kernel's name or a part of it. */
  readonly kernel: string;
  /** Module path of the op. */
  readonly name: string;
  /** Workgroups in x, y and z: `12x4x1`. */
  readonly workgroups: string;
  /** When it began, in milliseconds after the run's first dispatch did. */
  readonly start: number;
  readonly milliseconds: number;
  readonly flops: number;
  readonly bytes: number;
}

interface ProfiledDispatch {
  readonly step: Step;
  readonly compiled: { readonly pipeline: GPUComputePipeline; readonly label: string };
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

const MAX_QUERIES = 4096; // WebGPU's limit for one query set

/**
 * Per-op times by GPU timestamps: one compute pass per dispatch, with a timestamp at its begin and end.
 * One object collects one run; needs the `timestamp-query` feature.
 */
export class Profile {
  private readonly dispatches: ProfiledDispatch[] = [];
  private readonly buffers: GPUBuffer[] = [];
  private readonly sets: GPUQuerySet[] = [];

  /** @throws Error if the device has no timestamps. */
  constructor(private readonly device: Device) {
    if (!device.features.includes("timestamp-query")) {
      throw new Error(`this adapter (${device.description}) offers no timestamps, so there are no per-op times`);
    }
  }

  /** Records the dispatches into the encoder with their timestamps. */
  encode(encoder: GPUCommandEncoder, dispatches: readonly ProfiledDispatch[]): void {
    for (let start = 0; start < dispatches.length; start += MAX_QUERIES / 2) {
      const part = dispatches.slice(start, start + MAX_QUERIES / 2);
      const querySet = this.device.gpu.createQuerySet({ type: "timestamp", count: part.length * 2 });
      this.sets.push(querySet);
      part.forEach((d, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        pass.setPipeline(d.compiled.pipeline);
        pass.setBindGroup(0, d.bindGroup);
        pass.dispatchWorkgroups(...d.workgroups);
        pass.end();
      });
      const buffer = this.device.createBuffer(part.length * 16, BufferUsage.query, "timestamps");
      encoder.resolveQuerySet(querySet, 0, part.length * 2, buffer, 0);
      this.buffers.push(buffer);
    }
    this.dispatches.push(...dispatches);
  }

  /**
   * Waits for the run and returns a row per dispatch, in running order; an op's cost is shared out over its dispatches by their time, so
   * that each shows the op's rate.
   */
  async rows(): Promise<ProfileRow[]> {
    const bytes = await readBuffers(this.device, this.buffers.map((buffer) => ({ buffer, bytes: buffer.size })));
    const stamps = bytes.flatMap((b) => [...new BigUint64Array(b)]);
    for (const buffer of this.buffers.splice(0)) this.device.destroyBuffer(buffer);
    for (const set of this.sets.splice(0)) set.destroy();
    const times = this.dispatches.map((_, i) => Number(stamps[2 * i + 1]! - stamps[2 * i]!) / 1e6);
    const ofOp = new Map<GraphNode, { milliseconds: number; dispatches: number }>();
    this.dispatches.forEach(({ step: { node } }, i) => {
      const before = ofOp.get(node);
      ofOp.set(node, { milliseconds: (before?.milliseconds ?? 0) + times[i]!, dispatches: (before?.dispatches ?? 0) + 1 });
    });
    return this.dispatches.map((d, i) => {
      const milliseconds = times[i]!;
      const op = ofOp.get(d.step.node)!;
      const share = op.milliseconds > 0 ? milliseconds / op.milliseconds : 1 / op.dispatches;
      const cost = costOf(d.step);
      return {
        kernel: d.compiled.label,
        name: d.step.node.name,
        workgroups: d.workgroups.join("x"),
        start: Number(stamps[2 * i]! - stamps[0]!) / 1e6,
        milliseconds,
        flops: share * cost.flops,
        bytes: share * cost.bytes,
      };
    });
  }
}

/** All dispatches of one shader together. */
export interface ProfiledKernel {
  readonly kernel: string;
  readonly count: number;
  readonly milliseconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** Rows summed by kernel, slowest first. */
export function profileByKernel(rows: readonly ProfileRow[]): ProfiledKernel[] {
  const table = new Map<string, { -readonly [K in keyof ProfiledKernel]: ProfiledKernel[K] }>();
  for (const r of rows) {
    const row = table.get(r.kernel) ?? { kernel: r.kernel, count: 0, milliseconds: 0, flops: 0, bytes: 0 };
    row.count++;
    row.milliseconds += r.milliseconds;
    row.flops += r.flops;
    row.bytes += r.bytes;
    table.set(r.kernel, row);
  }
  return [...table.values()].toSorted((a, b) => b.milliseconds - a.milliseconds);
}
