import { type Recorder, type TensorType, type Value, elementCount } from "../../../kernels/kernel.ts";
import type { Device } from "../device.ts";
import { DeviceLostError, errorMessage } from "../errors.ts";
import { Graph } from "../graph.ts";
import { type HostArray, Program } from "../program.ts";
import { makeSchedule } from "../plan/schedule.ts";
import type { ProbeRow } from "./kernel-table.ts";
import { relativeError } from "../relative-error.ts";
import { Tensor } from "../tensor.ts";
import { ProbeTimes } from "./probe-times.ts";

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

/** Classes with the candidates for them. */
export interface ProbeGroup<Class extends string = string, Name extends string = string> {
  readonly classes: readonly ProbeClass<Class>[];
  readonly candidates: readonly Candidate<Name>[];
  /** What the others are compared with. */
  readonly plain: Candidate;
}

/** The numbers of a sample on the device, written once for all candidates. */
type Inputs = ReadonlyMap<string, Tensor>;

/** Random numbers that are all different in a small tensor; a large one repeats them: what it holds weighs nothing when it is timed. */
const FRESH = 65_521;

/** A candidate must be this much faster than those listed before it: less is noise. */
const WORTH = 0.97;

/**
 * Groups of classes probed one after another. All pipelines are compiled at once, side by side; what several classes are checked with is
 * checked once; the card is warmed up once.
 */
export class KernelProbe {
  /** By sample and candidate: its error, or why it has none. */
  private readonly checked = new Map<Sample, Map<string, number | Error>>();
  private readonly expected = new Map<Sample, HostArray>();
  private readonly inputs = new Map<Sample, Inputs>();
  private readonly times: ProbeTimes;

  private constructor(private readonly device: Device) {
    this.times = new ProbeTimes(device);
  }

  /** Compiles whatever the groups need; what does not compile is told of when it is used. @throws DeviceLostError */
  static async create(device: Device, groups: readonly ProbeGroup[]): Promise<KernelProbe> {
    const dispatches = groups.flatMap(({ classes, candidates, plain }) => {
      const samples = new Set(classes.flatMap(({ check, time }) => [...check, time]));
      return [...samples].flatMap((sample) =>
        [...candidates, plain].flatMap((candidate) => {
          const graph = new Graph();
          return makeSchedule(graph, [record(graph, candidate, sample)], device.capabilities).steps.flatMap((s) => s.plan.dispatches);
        }),
      );
    });
    await Promise.allSettled(dispatches.map((d) => device.pipelines.get(d)));
    await drain(device);
    return new KernelProbe(device);
  }

  /**
   * Compares every candidate of every class with the plain way on random numbers, and times those that agree, in turn. One that does not
   * compile or is wrong becomes a row with its problem. @throws DeviceLostError
   */
  async run<Class extends string, Name extends string>(
    group: ProbeGroup<Class, Name>,
    onRow: (row: ProbeRow<Class, Name>) => void = () => undefined,
  ): Promise<ProbeRow<Class, Name>[]> {
    const rows: ProbeRow<Class, Name>[] = [];
    const add = (row: ProbeRow<Class, Name>): void => {
      rows.push(row);
      onRow(row);
    };
    for (const { name, check, time } of group.classes) {
      const errors = new Map<Candidate<Name>, number>();
      for (const candidate of group.candidates) {
        const found = await this.check(check, candidate, group.plain);
        if (typeof found === "number" && found <= candidate.tolerance) errors.set(candidate, found);
        else add({ class: name, candidate: candidate.name, milliseconds: null, ...problemOf(found, candidate) });
      }
      const times = await this.time(time, [...errors.keys()]);
      for (const [candidate, outcome] of times) {
        const row = { class: name, candidate: candidate.name, error: errors.get(candidate)! };
        if (outcome instanceof Error) {
          await drain(this.device);
          add({ ...row, milliseconds: null, problem: `fails at the size of a model: ${outcome.message}` });
        } else add({ ...row, milliseconds: outcome, problem: null });
      }
    }
    return rows;
  }

  /** Frees what it wrote to the device. */
  destroy(): void {
    for (const inputs of this.inputs.values()) for (const tensor of inputs.values()) tensor.destroy();
    this.inputs.clear();
  }

  /** The largest error of all samples, or the first failure. */
  private async check(samples: readonly Sample[], candidate: Candidate, plain: Candidate): Promise<number | Error> {
    let worst = 0;
    for (const sample of samples) {
      const of = this.checked.get(sample) ?? new Map<string, number | Error>();
      this.checked.set(sample, of);
      const found = of.get(candidate.name) ?? (await this.errorOf(sample, candidate, plain));
      of.set(candidate.name, found);
      if (typeof found !== "number") return found;
      worst = Math.max(worst, found);
    }
    return worst;
  }

  private async errorOf(sample: Sample, candidate: Candidate, plain: Candidate): Promise<number | Error> {
    let expected = this.expected.get(sample);
    if (!expected) this.expected.set(sample, (expected = await this.compute(plain, sample)));
    try {
      return relativeError(await this.compute(candidate, sample), expected);
    } catch (error) {
      if (error instanceof DeviceLostError) throw error;
      await drain(this.device);
      return new Error(errorMessage(error));
    }
  }

  private async compute(candidate: Candidate, sample: Sample): Promise<HostArray> {
    const program = await this.program(candidate, sample, true);
    try {
      await program.run();
      return (await program.read("y"))["y"]!;
    } finally {
      program.destroy();
    }
  }

  private async time<Name extends string>(
    sample: Sample,
    candidates: readonly Candidate<Name>[],
  ): Promise<Map<Candidate<Name>, number | Error>> {
    try {
      return await this.times.of(candidates, (candidate) => this.program(candidate, sample, false));
    } finally {
      for (const tensor of this.inputs.get(sample)?.values() ?? []) tensor.destroy();
      this.inputs.delete(sample);
    }
  }

  private program(candidate: Candidate, sample: Sample, poison: boolean): Promise<Program> {
    const graph = new Graph();
    const inputs = this.inputsOf(sample);
    return Program.create(this.device, graph, {
      outputs: { y: record(graph, candidate, sample) },
      parameters: (name) => inputs.get(name)!,
      poison,
      label: `probe ${candidate.name}`,
    });
  }

  private inputsOf(sample: Sample): Inputs {
    const known = this.inputs.get(sample);
    if (known) return known;
    const numbers = Float32Array.from({ length: FRESH }, () => 2 * Math.random() - 1);
    const made = new Map(Object.entries(sample.inputs).map(([name, type], i) => {
      const data = new Float32Array(elementCount(type.shape));
      const begin = (i * 9973) % FRESH; // each tensor begins elsewhere
      for (let at = 0; at < data.length; at += FRESH - begin) data.set(numbers.subarray(begin, begin + data.length - at), at);
      return [name, new Tensor(this.device, name, type).write(data)];
    }));
    this.inputs.set(sample, made);
    return made;
  }
}

/** What a row says of a candidate that cannot be used. */
function problemOf(found: number | Error, { tolerance }: Candidate): Pick<ProbeRow, "error" | "problem"> {
  if (typeof found !== "number") return { error: null, problem: `fails: ${found.message}` };
  const problem = `is wrong: it differs from the plain variant by ${found.toExponential(1)}, allowed are ${tolerance}`;
  return { error: Number.isFinite(found) ? found : null, problem };
}

function record(graph: Graph, candidate: Candidate, sample: Sample): Value {
  return sample.build(
    candidate.plan(graph),
    Object.fromEntries(Object.entries(sample.inputs).map(([name, type]) => [name, graph.parameter(name, type)])),
  );
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

/** Takes what the device has to say of a candidate that failed, so that it is not held against the next. @throws DeviceLostError */
async function drain(device: Device): Promise<void> {
  try {
    await device.settle();
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
  }
}
