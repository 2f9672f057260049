import type { Device } from "../runtime/device.ts";
import { Graph } from "../runtime/graph.ts";
import { Program, type ProgramOptions } from "../runtime/program.ts";
import { type Parameters, lookup } from "./parameters.ts";

/** The programs of one model: each is recorded and made when first asked for, after its weights are uploaded, and kept for its key. */
export class ProgramCache {
  private readonly programs = new Map<string, Promise<Program>>();

  /** @param file where the weights come from; it is closed with the cache */
  constructor(private readonly device: Device, private readonly parameters: Parameters, private readonly file?: { close(): Promise<void> }) {}

  /** @throws what recording, loading and Program.create throw; a failure can be tried again */
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
    await this.parameters.load();
    return Program.create(this.device, graph, { parameters: lookup(this.parameters), label: key, ...options });
  }

  /** Frees the programs and the weights, and closes the file. */
  async destroy(): Promise<void> {
    for (const p of await Promise.allSettled(this.programs.values())) if (p.status === "fulfilled") p.value.destroy();
    this.programs.clear();
    this.parameters.destroy();
    await this.file?.close();
  }
}
