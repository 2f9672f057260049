import type { Device } from "../device.ts";
import { DeviceLostError, errorMessage } from "../errors.ts";
import { Profile } from "../profile/profile.ts";
import type { Program } from "../program.ts";

/** Runs are repeated until a sample is about this long (ms), so that waiting for a device weighs little; its own clock needs less. */
const SAMPLE_MS = { host: 6, device: 3 } as const;
const MAX_BATCH = 16;
const ROUNDS = 3;
/** A candidate that took this many times as long as the fastest so far in its first run is not run again. */
const FAR_SLOWER = 4;
/** And in later rounds: how much slower than the fastest one may be and still take part. */
const STILL_IN = [2, 1.5, 1.2] as const;
/** Work before a GPU is first timed (ms): one that was idle is up to four times slower than it will be. */
const WARM_MS = 60;
/** On a GPU later rounds are left out when all timing took so long (ms): the first ones tell what is far from the best. */
const BUDGET_MS = 2500;

/** Times candidates against each other, one class after another, on a device that is warmed up once. */
export class ProbeTimes {
  private warm = false;
  private spent = 0;
  /** By the device's own clock. */
  private readonly stamped: boolean;

  constructor(private readonly device: Device, private readonly budget = device.info.software ? Infinity : BUDGET_MS) {
    this.stamped = !device.info.software && device.features.includes("timestamp-query");
  }

  /**
   * Milliseconds per run of each candidate, the least of several rounds in which they take turns; an Error for one that fails.
   * @param prepare the program of a candidate, destroyed in here @throws DeviceLostError
   */
  async of<C>(candidates: readonly C[], prepare: (candidate: C) => Promise<Program>): Promise<Map<C, number | Error>> {
    const started = performance.now();
    const programs = new Map<C, Program>();
    const found = new Map<C, number | Error>();
    const best = (): number => Math.min(...[...found.values()].filter((x) => typeof x === "number"));
    const attempt = async (candidate: C, work: () => Promise<void>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        if (error instanceof DeviceLostError) throw error;
        found.set(candidate, new Error(errorMessage(error)));
        programs.get(candidate)?.destroy();
        programs.delete(candidate);
      }
    };
    try {
      for (const candidate of candidates) {
        await attempt(candidate, async () => {
          const program = await prepare(candidate);
          programs.set(candidate, program);
          await this.run(program, 1); // compiles, on some drivers
          await this.warmUp(program);
          const first = await this.run(program, 1);
          found.set(candidate, first <= FAR_SLOWER * best() ? Math.min(first, await this.run(program, 1)) : first);
        });
      }
      for (let round = 0; round < ROUNDS && !this.late(started); round++) {
        for (const [candidate, program] of programs) {
          await attempt(candidate, async () => {
            const before = found.get(candidate);
            if (typeof before !== "number" || before > STILL_IN[round]! * best()) return;
            const sample = SAMPLE_MS[this.stamped ? "device" : "host"];
            const batch = Math.min(MAX_BATCH, Math.max(1, Math.round(sample / Math.max(before, 1e-3))));
            found.set(candidate, Math.min(before, await this.run(program, batch)));
          });
        }
      }
      return found;
    } finally {
      this.spent += performance.now() - started;
      for (const program of programs.values()) program.destroy();
    }
  }

  private late(started: number): boolean {
    return this.spent + performance.now() - started > this.budget;
  }

  private async warmUp(program: Program): Promise<void> {
    if (this.warm || !this.stamped) return;
    this.warm = true;
    for (const until = performance.now() + WARM_MS; performance.now() < until; ) await this.run(program, 4);
  }

  /** Milliseconds of one of `count` runs. */
  private async run(program: Program, count: number): Promise<number> {
    if (this.stamped) return this.onDevice(program, count);
    const started = performance.now();
    for (let i = 0; i < count; i++) await program.run();
    await this.device.settle();
    return (performance.now() - started) / count;
  }

  /**
   * Milliseconds from the begin of a run's first dispatch to the end of its last by the device's clock, the least of `count` runs:
   * submitting one takes as long as a small product.
   */
  private async onDevice(program: Program, count: number): Promise<number> {
    const profile = new Profile(this.device);
    for (let i = 0; i < count; i++) await program.run({}, { profile });
    const rows = await profile.rows();
    const each = rows.length / count;
    const spans = Array.from({ length: count }, (_, i) => {
      const [first, last] = [rows[i * each]!, rows[(i + 1) * each - 1]!];
      return last.start + last.milliseconds - first.start;
    });
    return Math.min(...spans);
  }
}
