import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Timing, summarize } from "./statistics.ts";

/** Something whose time is taken. */
export interface Subject {
  readonly name: string;
  /** Does the work `count` times over and waits until all of it is done. */
  run(count: number): Promise<void>;
}

export interface MeasureOptions {
  /**
   * Samples wanted of each subject; fewer are taken when the budget is used up, but never fewer than three (two if fewer than three are
   * wanted).
   */
  readonly samples: number;
  /** Runs are repeated within one sample until it is about this long, so that waiting for the device weighs nothing. */
  readonly sampleMs: number;
  /**
   * A subject is run for so long before it is sampled: a GPU that was idle takes some 100 ms to reach its clock, until when it is up to
   * four times slower (H100). Default 0.
   */
  readonly warmMs?: number;
  /** Time for all samples of all subjects together. */
  readonly budgetMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Measured {
  /** The first run: drivers compile at the first dispatch. */
  readonly firstRunMs: number;
  /** Runs in each sample. */
  readonly batch: number;
  /** Wall-clock time per run. */
  readonly wall: Timing;
  /** CPU time per run of all threads of this process: on a software adapter what the work really took, however busy the machine. */
  readonly cpu: Timing;
}

const MAX_BATCH = 1000;

interface Entry {
  readonly subject: Subject;
  firstRunMs: number;
  batch: number;
  readonly wall: number[];
  readonly cpu: number[];
  failure: Error | undefined;
}

/**
 * Times the subjects in turn, one sample of each per round, so that whatever else the machine does falls on all alike.
 * @returns in the order given; an Error where a subject threw, after which it is not run again
 * @throws what `signal` was aborted with
 */
export async function measureInterleaved(subjects: readonly Subject[], options: MeasureOptions): Promise<(Measured | Error)[]> {
  const entries: Entry[] = subjects.map((subject) => ({ subject, firstRunMs: 0, batch: 1, wall: [], cpu: [], failure: undefined }));
  const each = async (work: (entry: Entry) => Promise<void>): Promise<void> => {
    for (const entry of entries) {
      options.signal?.throwIfAborted();
      if (entry.failure) continue;
      try {
        await work(entry);
      } catch (error) {
        entry.failure = error instanceof Error ? error : new Error(String(error));
      }
    }
  };
  await each(async (entry) => {
    entry.firstRunMs = (await sample(entry.subject, 1)).wall;
    for (const until = performance.now() + (options.warmMs ?? 0); performance.now() < until; ) await sample(entry.subject, 1);
    const { wall } = await sample(entry.subject, 1);
    entry.batch = Math.min(MAX_BATCH, Math.max(1, Math.round(options.sampleMs / Math.max(wall, 1e-3))));
    if (entry.batch < 8) return;
    // A short run is mostly waiting: what one of many takes is what the batch must be sized by.
    const many = await sample(entry.subject, Math.ceil(entry.batch / 4));
    entry.batch = Math.min(MAX_BATCH, Math.max(1, Math.round(options.sampleMs / Math.max(many.wall, 1e-3))));
  });
  // What one subject leaves behind would be cleared away in the time of the next (some engines return every result to the host).
  const collectGarbage = subjects.length > 1 ? garbageCollector() : undefined;
  const started = performance.now();
  const least = Math.min(options.samples, options.samples < 3 ? 2 : 3);
  for (let round = 0; round < options.samples; round++) {
    if (round >= least && performance.now() - started > options.budgetMs) break;
    await each(async (entry) => {
      collectGarbage?.();
      const { wall, cpu } = await sample(entry.subject, entry.batch);
      entry.wall.push(wall);
      entry.cpu.push(cpu);
    });
  }
  return entries.map(
    ({ failure, firstRunMs, batch, wall, cpu }) => failure ?? { firstRunMs, batch, wall: summarize(wall), cpu: summarize(cpu) },
  );
}

/** Node's own, which it gives to those who ask. */
function garbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

/** Milliseconds per run of one sample. */
async function sample(subject: Subject, count: number): Promise<{ wall: number; cpu: number }> {
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  await subject.run(count);
  const wall = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { wall: wall / count, cpu: (user + system) / 1000 / count };
}
