import type { Device } from "../engine/runtime/device.ts";
import { errorMessage } from "../engine/runtime/errors.ts";
import type { Graph } from "../engine/runtime/graph.ts";
import { Program, type ProgramOptions } from "../engine/runtime/program.ts";
import type { Profiler } from "../engine/runtime/profile/profiler.ts";
import { type Step, costOf } from "../engine/runtime/plan/schedule.ts";
import { type MeasureOptions, type Measured, type Subject, measureInterleaved } from "./measure.ts";
import { type Peak, type Basis, type Work, basisMs, rates } from "./rates.ts";
import type { BenchRow } from "./results.ts";
import { sixDigits } from "./statistics.ts";

/** What every suite works with. */
export interface Bench {
  readonly device: Device;
  readonly basis: Basis;
  readonly peak: Peak;
  readonly measure: MeasureOptions;
  /** Set: every program is run once more, after it was measured, with a timestamp around each dispatch. */
  readonly profiler: Profiler | undefined;
  /** Whether a row of this name is wanted. */
  readonly wants: (name: string) => boolean;
  /** Says what is being measured. */
  readonly begin: (name: string) => void;
  /** Takes a finished row. */
  readonly add: (row: BenchRow) => void;
}

/** Which row a measurement is for. */
export type RowName = Pick<BenchRow, "suite" | "model" | "name" | "direction">;

/** Something of ours, ready to be run. */
export interface Prepared {
  /** Queues one run; if it waits, that is part of what is measured. */
  readonly run: () => void | Promise<void>;
  /** What one run does. */
  readonly work: Work;
  readonly dispatches: number;
  readonly pipelines: number;
  readonly destroy?: () => void;
}

/** The work of ops, by their kernels' own count. */
export function workOf(steps: readonly Step[]): Work {
  let flops = 0;
  let bytes = 0;
  for (const step of steps) {
    const cost = costOf(step);
    flops += cost.flops;
    bytes += cost.bytes;
  }
  return { flops, bytes };
}

/** A graph made into a program and seen as a task. The first run writes nothing: inputs are zero unless `run` writes them. */
export async function prepareProgram(
  device: Device,
  graph: Graph,
  options: ProgramOptions,
  inputs: Parameters<Program["run"]>[0] = {},
): Promise<Prepared & { readonly program: Program }> {
  const program = await Program.create(device, graph, options);
  for (const [name, data] of Object.entries(inputs)) program.write(name, data);
  return { program, run: () => program.run(), ...countsOf(program), destroy: () => program.destroy() };
}

/** Work, dispatches and pipelines of programs that are run one after the other. */
export function countsOf(...programs: readonly Program[]): Pick<Prepared, "work" | "dispatches" | "pipelines"> {
  return {
    work: workOf(programs.flatMap((p) => p.steps)),
    dispatches: programs.reduce((n, p) => n + p.dispatchCount, 0),
    pipelines: new Set(programs.flatMap((p) => [...p.pipelines])).size,
  };
}

/** What a row says of times. */
export function timesOf(measured: Measured, work: Work, { basis, peak }: Bench): Pick<BenchRow, "wall" | "cpu" | "batch" | "rates"> {
  const { wall, cpu, batch } = measured;
  return { wall, cpu, batch, rates: rates(work, basisMs(measured, basis), peak) };
}

/** One of ours that is being measured: where its numbers come together. */
export class Task implements Subject {
  readonly name = "lethe";
  private constructor(
    private readonly bench: Bench,
    private readonly row: RowName,
    readonly prepared: Prepared,
    private readonly prepareMs: number,
    private readonly newPipelines: number,
  ) {}

  /** Prepares it and takes the time. @throws whatever `prepare` throws */
  static async prepare(bench: Bench, row: RowName, prepare: () => Promise<Prepared>): Promise<Task> {
    const { device } = bench;
    await device.settle();
    device.resetPeak();
    const pipelines = device.pipelines.size;
    const started = performance.now();
    const prepared = await prepare();
    return new Task(bench, row, prepared, performance.now() - started, device.pipelines.size - pipelines);
  }

  async run(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const waiting = this.prepared.run();
      if (waiting) await waiting;
    }
    await this.bench.device.settle();
  }

  /** The row of what was measured. */
  finish(measured: Measured | Error, note?: string): BenchRow {
    const { work, dispatches, pipelines } = this.prepared;
    const base = { ...this.row, engine: this.name, ...work, ...(note !== undefined && { note }) };
    if (measured instanceof Error) return { ...base, error: measured.message };
    return {
      ...base,
      ...timesOf(measured, work, this.bench),
      firstRunMs: sixDigits(this.prepareMs + measured.firstRunMs),
      newPipelines: this.newPipelines,
      pipelines,
      dispatches,
      peakBytes: this.bench.device.usage.peakBytes,
    };
  }

  /** Runs it once more under the profiler, if there is one. */
  async profile(): Promise<void> {
    const { profiler } = this.bench;
    if (!profiler) return;
    profiler.start();
    try {
      await this.run(1);
    } finally {
      profiler.stop();
    }
  }
}

/** Measures one thing of ours alone and adds its row; a failure is a row, too. @throws the reason of an abort; DeviceLostError */
export async function measureTask(bench: Bench, row: RowName, prepare: () => Promise<Prepared>, note?: string): Promise<void> {
  if (!bench.wants(row.name)) return;
  bench.begin(`${row.name} ${row.direction === "forward" ? "" : "with gradient"}`.trim());
  let task: Task;
  try {
    task = await Task.prepare(bench, row, prepare);
  } catch (error) {
    bench.device.check();
    bench.add({ ...row, engine: "lethe", flops: 0, bytes: 0, error: errorMessage(error) });
    return;
  }
  try {
    const [measured] = await measureInterleaved([task], bench.measure);
    bench.device.check();
    bench.add(task.finish(measured!, note));
    await task.profile();
  } finally {
    task.prepared.destroy?.();
  }
}
