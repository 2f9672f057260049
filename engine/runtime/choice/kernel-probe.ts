import { type Recorder, type TensorType, type Value, elementCount } from "../../../kernels/kernel.ts";
import type { Device } from "../device.ts";
import { DeviceLostError, errorMessage } from "../errors.ts";
import { Graph } from "../graph.ts";
import { type HostArray, Program } from "../program.ts";
import { makeSchedule } from "../plan/schedule.ts";
import type { ProbeRow } from "./kernel-table.ts";
import { Profile } from "../profile/profile.ts";
import { relativeError } from "../relative-error.ts";

/** One way to compute the same thing. */
export interface Candidate<Name extends string = string> {
  readonly name: Name;
  /** A recorder that plans ops this way. */
  readonly plan: (g: Recorder) => Recorder;
  /** How far its results may be from the plain way's: relative L2. */
  readonly tolerance: number;
}

/** An op at one size; f32 inputs get random numbers. */
export interface Sample {
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly build: (g: Recorder, v: Readonly<Record<string, Value>>) => Value;
}

/** Ops for which one candidate is looked for. */
export interface ProbeClass<Class extends string = string> {
  readonly name: Class;
  /** At awkward sizes: compared with the plain way. */
  readonly check: readonly Sample[];
  /** At a model's own size: timed. */
  readonly time: Sample;
}

/** Runs are repeated until a sample is about this long (ms), so that waiting for a GPU weighs little. */
const SAMPLE_MS = 6;
const MAX_BATCH = 16;
const ROUNDS = { software: 3, gpu: 5 } as const;
/** A candidate that took this many times as long as the fastest in a first run is not timed further. */
const HOPELESS = 2;
/** Work before candidates of a class are timed on a GPU (ms). */
const WARM_MS = 60;
/** A candidate must be this much faster than those listed before it: less is noise. */
const WORTH = 0.97;

/**
 * Compiles every candidate for every class, compares it with the plain way on fresh random numbers, and times those that agree, in turn.
 * One that does not compile or is wrong becomes a row with its problem. @throws DeviceLostError
 */
export async function probe<Class extends string, Name extends string>(
  device: Device,
  classes: readonly ProbeClass<Class>[],
  candidates: readonly Candidate<Name>[],
  plain: Candidate,
  onRow: (row: ProbeRow<Class, Name>) => void = () => undefined,
): Promise<ProbeRow<Class, Name>[]> {
  const rows: ProbeRow<Class, Name>[] = [];
  await compileAll(device, classes.flatMap(({ check, time }) => [...check, time]), [...candidates, plain]);
  for (const { name, check, time } of classes) {
    const data = check.map(randomInputs);
    const expected: HostArray[] = [];
    for (const [i, sample] of check.entries()) expected.push(await compute(device, plain, sample, data[i]!));
    const errors = new Map<Candidate<Name>, number>();
    const refuse = async (candidate: Candidate<Name>, error: number | null, problem: string): Promise<void> => {
      await drain(device);
      rows.push({ class: name, candidate: candidate.name, error, milliseconds: null, problem });
      onRow(rows.at(-1)!);
    };
    for (const candidate of candidates) {
      try {
        let worst = 0;
        for (const [i, sample] of check.entries()) {
          worst = Math.max(worst, relativeError(await compute(device, candidate, sample, data[i]!), expected[i]!));
        }
        if (worst <= candidate.tolerance) errors.set(candidate, worst);
        else
          await refuse(
            candidate,
            Number.isFinite(worst) ? worst : null,
            `is wrong: it differs from the plain variant by ${worst.toExponential(1)}, allowed are ${candidate.tolerance}`,
          );
      } catch (error) {
        if (error instanceof DeviceLostError) throw error;
        await refuse(candidate, null, `fails: ${errorMessage(error)}`);
      }
    }
    const times = await timeAll(device, time, [...errors.keys()]);
    for (const [candidate, outcome] of times) {
      if (outcome instanceof Error) {
        await refuse(candidate, errors.get(candidate)!, `fails at the size of a model: ${outcome.message}`);
        continue;
      }
      rows.push({ class: name, candidate: candidate.name, error: errors.get(candidate)!, milliseconds: outcome, problem: null });
      onRow(rows.at(-1)!);
    }
  }
  return rows;
}

/** The fastest candidate of each class; of nearly equal ones the one that was listed first. Classes without any are left out. */
export function winners<Class extends string, Name extends string>(rows: readonly ProbeRow<Class, Name>[]): Partial<Record<Class, Name>> {
  const best = new Map<Class, ProbeRow<Class, Name>>();
  for (const row of rows) {
    if (row.milliseconds === null) continue;
    const before = best.get(row.class)?.milliseconds;
    if (before === undefined || before === null || row.milliseconds < before * WORTH) best.set(row.class, row);
  }
  return Object.fromEntries([...best].map(([name, row]) => [name, row.candidate])) as Partial<Record<Class, Name>>;
}

/** Has all pipelines compiled side by side; what does not compile is told of when it is used. */
async function compileAll(device: Device, samples: readonly Sample[], candidates: readonly Candidate[]): Promise<void> {
  const dispatches = samples.flatMap((sample) =>
    candidates.flatMap((candidate) => {
      const graph = new Graph();
      const y = record(graph, candidate, sample);
      return makeSchedule(graph, [y], device.capabilities).steps.flatMap((s) => s.plan.dispatches);
    }),
  );
  await Promise.allSettled(dispatches.map((d) => device.pipelines.get(d)));
  await drain(device);
}

function record(graph: Graph, candidate: Candidate, sample: Sample): Value {
  return sample.build(
    candidate.plan(graph),
    Object.fromEntries(Object.entries(sample.inputs).map(([name, type]) => [name, graph.input(name, type)])),
  );
}

function randomInputs({ inputs }: Sample): Record<string, Float32Array<ArrayBuffer>> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => [
      name,
      Float32Array.from({ length: elementCount(shape) }, () => 2 * Math.random() - 1),
    ]),
  );
}

async function prepare(
  device: Device,
  candidate: Candidate,
  sample: Sample,
  data: Readonly<Record<string, HostArray>>,
  poison: boolean,
): Promise<Program> {
  const graph = new Graph();
  const program = await Program.create(device, graph, {
    outputs: { y: record(graph, candidate, sample) },
    poison,
    label: `probe ${candidate.name}`,
  });
  for (const [name, array] of Object.entries(data)) program.write(name, array);
  return program;
}

async function compute(
  device: Device,
  candidate: Candidate,
  sample: Sample,
  data: Readonly<Record<string, HostArray>>,
): Promise<HostArray> {
  const program = await prepare(device, candidate, sample, data, true);
  try {
    await program.run();
    return (await program.read("y"))["y"]!;
  } finally {
    program.destroy();
  }
}

/** Milliseconds per run of each, the least of several rounds in which they take turns; an Error for one that fails. */
async function timeAll<Name extends string>(
  device: Device,
  sample: Sample,
  candidates: readonly Candidate<Name>[],
): Promise<Map<Candidate<Name>, number | Error>> {
  const data = randomInputs(sample);
  const programs = new Map<Candidate<Name>, Program>();
  const found = new Map<Candidate<Name>, number | Error>();
  const attempt = async (candidate: Candidate<Name>, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (error instanceof DeviceLostError) throw error;
      found.set(candidate, new Error(errorMessage(error)));
      programs.get(candidate)?.destroy();
      programs.delete(candidate);
    }
  };
  const stamped = !device.info.software && device.features.includes("timestamp-query");
  const run = async (program: Program, count: number): Promise<number> => {
    if (stamped) return onDevice(device, program, count);
    const started = performance.now();
    for (let i = 0; i < count; i++) await program.run();
    await device.settle();
    return (performance.now() - started) / count;
  };
  try {
    for (const candidate of candidates) {
      await attempt(candidate, async () => {
        const program = await prepare(device, candidate, sample, data, false);
        programs.set(candidate, program);
        await run(program, 1); // compiles, on some drivers
        found.set(candidate, Math.min(await run(program, 1), await run(program, 1)));
      });
    }
    // A GPU that was idle is up to four times slower than it will be.
    const [first] = programs.values();
    if (stamped && first) for (const until = performance.now() + WARM_MS; performance.now() < until; ) await run(first, 4);
    const times = [...found.values()].filter((x) => typeof x === "number");
    const promising = [...programs].filter(([candidate]) => Number(found.get(candidate)) <= HOPELESS * Math.min(...times));
    for (let round = 0; round < ROUNDS[device.info.software ? "software" : "gpu"]; round++) {
      for (const [candidate, program] of promising) {
        await attempt(candidate, async () => {
          const before = found.get(candidate);
          if (typeof before !== "number") return;
          const batch = Math.min(MAX_BATCH, Math.max(1, Math.round(SAMPLE_MS / Math.max(before, 1e-3))));
          found.set(candidate, Math.min(before, await run(program, batch)));
        });
      }
    }
    return found;
  } finally {
    for (const program of programs.values()) program.destroy();
  }
}

/**
 * Milliseconds from the begin of a run's first dispatch to the end of its last by the device's clock, the least of `count` runs: submitting
 * one takes as long as a small product.
 */
async function onDevice(device: Device, program: Program, count: number): Promise<number> {
  const profile = new Profile(device);
  for (let i = 0; i < count; i++) await program.run({}, { profile });
  const rows = await profile.rows();
  const each = rows.length / count;
  const spans = Array.from({ length: count }, (_, i) => {
    const [first, last] = [rows[i * each]!, rows[(i + 1) * each - 1]!];
    return last.start + last.milliseconds - first.start;
  });
  return Math.min(...spans);
}

/** Takes what the device has to say of a candidate that failed, so that it is not held against the next. @throws DeviceLostError */
async function drain(device: Device): Promise<void> {
  try {
    await device.settle();
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
  }
}
