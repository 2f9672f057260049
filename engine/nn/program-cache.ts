import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { type Estimate, estimateProgram, formatBytes } from "../runtime/plan/estimate.ts";
import type { planStreams } from "../runtime/plan/streaming.ts";
import { Graph } from "../runtime/graph.ts";
import { Program, type ProgramOptions } from "../runtime/program.ts";
import type { HostWeights } from "../runtime/tensor.ts";
import { type LeafStore, lookup } from "./leaf-store.ts";

/** What records a program; called again with another graph when the first plan does not fit the memory. */
export type Recording = (g: Graph) => ProgramOptions;

/**
 * The programs of one model: each is recorded and made when first asked for, after the weights it reads are uploaded, and kept for its key.
 */
export class ProgramCache {
  private readonly programs = new Map<string, Promise<Program>>();
  /** Whether gradients compute again what they could keep, from the first plan on: set where a run is known not to fit otherwise. */
  recomputes = false;
  /** Set where weights may stay in host memory. */
  planStreams: typeof planStreams | undefined;

  /** @param file where the weights come from, if it is to be closed with the cache */
  constructor(
    private readonly device: Device,
    private readonly parameters: readonly LeafStore[],
    private readonly file?: { close(): Promise<void> },
  ) {}

  /**
   * The program of a key. One that does not fit the device's memory limit is planned with recompute regions.
   * @param stores where leaves come from that are not the model's weights, such as an optimiser's states
   * @throws UsageError if it would not fit so either; what recording, loading and Program.create throw. A failure can be tried again.
   */
  async get(key: string, record: Recording, stores: readonly LeafStore[] = []): Promise<Program> {
    let made = this.programs.get(key);
    if (!made) {
      this.programs.set(key, (made = this.make(key, record, [...this.parameters, ...stores])));
      made.catch(() => this.programs.delete(key));
    }
    return made;
  }

  private async make(key: string, record: Recording, stores: readonly LeafStore[]): Promise<Program> {
    const { graph, options } = this.plan(key, record, stores);
    const leaves = leavesOf(graph);
    for (const store of stores) await store.load(leaves);
    const weights = (leaf: string): HostWeights | undefined => stores.find((store) => store.owns(leaf))?.streamed?.(leaf);
    const streaming = this.planStreams && { weights, plan: this.planStreams };
    return Program.create(this.device, graph, { parameters: lookup(...stores), streaming, label: key, ...options });
  }

  /** @throws UsageError if no plan fits */
  private plan(key: string, record: Recording, stores: readonly LeafStore[]): { graph: Graph; options: ProgramOptions } {
    const { device } = this;
    const left = device.memoryLimit - device.usage.allocatedBytes;
    let least = Infinity;
    for (const recomputes of this.recomputes ? [true] : [false, true]) {
      const graph = new Graph(recomputes);
      const options = record(graph);
      if (device.memoryLimit === Infinity) return { graph, options };
      const streams = (leaf: string): boolean => stores.some((store) => store.streams?.(leaf));
      const streaming = this.planStreams && { streams, memoryLimit: device.memoryLimit, plan: this.planStreams };
      const estimate = estimateProgram(graph, options, device.capabilities, device.bufferSharing, streaming);
      const needed = this.neededBytes(graph, estimate, stores);
      if (needed <= left) return { graph, options };
      least = Math.min(least, needed);
    }
    const [more, limit, free] = [least, device.memoryLimit, Math.max(0, left)].map(formatBytes);
    const host = this.planStreams ? "" : "leave some on the host (--offload), ";
    throw new UsageError(
      `not enough memory: "${key}" needs ${more} more on ${device.description}, of whose ${limit} ${free} are left; ` +
        `store weights as halves (--weights f16), ${host}or take fewer or smaller pictures`,
    );
  }

  private neededBytes(graph: Graph, { buffers, ownBytes }: Estimate, stores: readonly LeafStore[]): number {
    const { device } = this;
    const intermediateBytes = device.bufferSharing ? device.pool.missingBytes(buffers) : buffers.reduce((a, b) => a + b, 0);
    const leaves = leavesOf(graph);
    return intermediateBytes + ownBytes + stores.reduce((n, store) => n + store.missingBytes(leaves), 0);
  }

  /** Frees the programs and the weights, and closes the file. */
  async destroy(): Promise<void> {
    for (const p of await Promise.allSettled(this.programs.values())) if (p.status === "fulfilled") p.value.destroy();
    this.programs.clear();
    for (const p of this.parameters) p.destroy();
    await this.device.reclaim();
    await this.file?.close();
  }
}

function leavesOf(graph: Graph): string[] {
  return graph.nodes.filter((n) => n.leaf?.kind === "parameter").map((n) => n.name);
}
