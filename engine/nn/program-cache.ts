import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { estimateProgram, formatBytes } from "../runtime/plan/estimate.ts";
import { Graph } from "../runtime/graph.ts";
import { Program, type ProgramOptions } from "../runtime/program.ts";
import { type Parameters, lookup } from "./parameters.ts";

/** The programs of one model: each is recorded and made when first asked for, after the weights it reads are uploaded, and kept for its key. */
export class ProgramCache {
  private readonly programs = new Map<string, Promise<Program>>();

  /** @param file where the weights come from, if it is to be closed with the cache */
  constructor(private readonly device: Device, private readonly parameters: readonly Parameters[], private readonly file?: { close(): Promise<void> }) {}

  /** @throws UsageError if it would not fit the device's memory limit; what recording, loading and Program.create throw. A failure can be tried again. */
  async get(key: string, record: (g: Graph) => ProgramOptions): Promise<Program> {
    let made = this.programs.get(key);
    if (!made) {
      this.programs.set(key, (made = this.make(key, record)));
      made.catch(() => this.programs.delete(key));
    }
    return made;
  }

  private async make(key: string, record: (g: Graph) => ProgramOptions): Promise<Program> {
    const graph = new Graph();
    const options = record(graph);
    this.requireMemory(key, graph, options);
    const leaves = graph.nodes.filter((n) => n.leaf?.kind === "parameter").map((n) => n.name);
    for (const p of this.parameters) await p.load(leaves);
    return Program.create(this.device, graph, { parameters: lookup(...this.parameters), label: key, ...options });
  }

  private requireMemory(key: string, graph: Graph, options: ProgramOptions): void {
    const { device } = this;
    if (device.memoryLimit === Infinity) return;
    const outputs = [...Object.values(options.outputs), ...(options.assigns ?? []).map(([, v]) => v)];
    const { buffers, ownBytes } = estimateProgram(graph, outputs, device.capabilities, device.bufferSharing);
    const leaves = graph.nodes.map((n) => n.name);
    const intermediateBytes = device.bufferSharing ? device.pool.missingBytes(buffers) : buffers.reduce((a, b) => a + b, 0);
    const needed = intermediateBytes + ownBytes + this.parameters.reduce((n, p) => n + p.missingBytes(leaves), 0);
    const left = device.memoryLimit - device.usage.allocatedBytes;
    if (needed > left) {
      throw new UsageError(
        `not enough memory: "${key}" needs ${formatBytes(needed)} more on ${device.description}, of whose ${formatBytes(device.memoryLimit)} ${formatBytes(Math.max(0, left))} are left; ` +
          "store weights as halves (--weights f16), or take a smaller picture or fewer at a time",
      );
    }
  }

  /** Frees the programs and the weights, and closes the file. */
  async destroy(): Promise<void> {
    for (const p of await Promise.allSettled(this.programs.values())) if (p.status === "fulfilled") p.value.destroy();
    this.programs.clear();
    for (const p of this.parameters) p.destroy();
    await this.file?.close();
  }
}
