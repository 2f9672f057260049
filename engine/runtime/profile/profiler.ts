import type { Device } from "../device.ts";
import { Profile, type ProfileRow, profileByKernel } from "./profile.ts";

/** Runs of one program that are measured; later ones run undisturbed. */
const MEASURED_RUNS = 10;

export interface ProfiledProgram {
  readonly program: string;
  /** Runs measured. */
  readonly runs: number;
  /** Mean over the runs. */
  readonly milliseconds: number;
  /** A row per dispatch, in running order; times and beginnings are means over the runs. */
  readonly rows: readonly ProfileRow[];
}

/** By the device whose programs each measures. */
const started = new WeakMap<Device, Profiler>();

/** What measures a device's programs now; undefined if nothing does. */
export function profilerOf(device: Device): Profiler | undefined {
  return started.get(device);
}

/** Per-op times of every program of a device: from `start` to `stop` it measures the first runs of each. */
export class Profiler {
  /** By program: several may have the same label. */
  private readonly profiles = new Map<object, { readonly label: string; readonly runs: Profile[] }>();

  constructor(private readonly device: Device) {}

  /** From now on runs of the device's programs are measured. */
  start(): this {
    started.set(this.device, this);
    return this;
  }

  /** They no longer are; what was measured stays. */
  stop(): void {
    started.delete(this.device);
  }

  /** Where the next run of a program is measured; undefined if it has been measured often enough. */
  next(program: object, label: string): Profile | undefined {
    const profiled = this.profiles.get(program) ?? { label, runs: [] };
    if (profiled.runs.length >= MEASURED_RUNS) return undefined;
    this.profiles.set(program, profiled);
    const profile = new Profile(this.device);
    profiled.runs.push(profile);
    return profile;
  }

  /** Waits for the measured runs; each is reported once. */
  async report(): Promise<{ kernels: ReturnType<typeof profileByKernel>; programs: ProfiledProgram[] }> {
    const programs: ProfiledProgram[] = [];
    for (const { label, runs: profiles } of this.profiles.values()) {
      const runs = await Promise.all(profiles.map((p) => p.rows()));
      const mean = (i: number, of: (row: ProfileRow) => number): number =>
        runs.reduce((sum, run) => sum + (run[i] ? of(run[i]) : 0), 0) / runs.length;
      const rows = runs[0]!.map((row, i) => ({ ...row, start: mean(i, (r) => r.start), milliseconds: mean(i, (r) => r.milliseconds) }));
      programs.push({ program: label, runs: runs.length, milliseconds: rows.reduce((sum, r) => sum + r.milliseconds, 0), rows });
    }
    this.profiles.clear();
    return { kernels: profileByKernel(programs.flatMap((p) => p.rows)), programs };
  }
}
