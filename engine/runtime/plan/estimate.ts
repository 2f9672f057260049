import { type Capabilities, type Value, byteLength } from "../../../kernels/kernel.ts";
import type { Graph } from "../graph.ts";
import type { Assign } from "./assigns.ts";
import { planMemory } from "./memory-plan.ts";
import type { planStreams } from "./streaming.ts";
import { checkBindings, costOf, makeSchedule } from "./schedule.ts";

/** What a program will take, known before anything is allocated. */
export interface Estimate {
  /** Weights it reads that are on the device, once each. */
  readonly weightBytes: number;
  /** Bytes of each buffer of intermediate tensors as planned; programs of one device share them. */
  readonly buffers: readonly number[];
  /** The most that intermediate tensors hold at any one op: no plan can be below it. */
  readonly liveBytes: number;
  /** Inputs, constants, state and outputs. */
  readonly ownBytes: number;
  readonly flops: number;
  readonly dispatches: number;
  /** Bytes of streamed weights that a run sends to the device. */
  readonly streamedBytes: number;
}

/** Which weights stay in host memory. */
export interface Streaming {
  /** By the leaf's name. */
  readonly streams: (leaf: string) => boolean;
  /** Bytes of device memory, by which their window is sized. */
  readonly memoryLimit: number;
  /** `planStreams`, given by whoever streams: others need not load it. */
  readonly plan: typeof planStreams;
}

/** What a program of the graph is asked for, as `ProgramOptions` have it. */
interface Wanted {
  readonly outputs: Readonly<Record<string, Value>>;
  readonly assigns?: readonly Assign[];
}

/** Plans a graph without a device. @throws Error if a tensor is larger than one binding of such a device */
export function estimateProgram(
  graph: Graph,
  { outputs, assigns }: Wanted,
  capabilities: Capabilities,
  share = true,
  streaming?: Streaming,
): Estimate {
  const schedule = makeSchedule(graph, Object.values(outputs), capabilities, assigns);
  checkBindings(schedule, capabilities);
  const { windowBytes = 0, bytesPerRun = 0 } = streaming?.plan(schedule, streaming.streams, streaming.memoryLimit) ?? {};
  const resident = schedule.leaves.filter((n) => !(n.leaf!.kind === "parameter" && streaming?.streams(n.name)));
  const leaves = resident.map((n) => ({ parameter: n.leaf!.kind === "parameter", bytes: byteLength(n.outputs[0]!.type) }));
  const sum = (parameter: boolean): number => leaves.reduce((n, l) => n + (l.parameter === parameter ? l.bytes : 0), 0);
  const { buffers, lowerBound } = planMemory(schedule.claims, share);
  return {
    weightBytes: sum(true),
    buffers: windowBytes > 0 ? [...buffers, windowBytes] : buffers,
    streamedBytes: bytesPerRun,
    liveBytes: lowerBound,
    ownBytes: sum(false) + schedule.kept.reduce((n, v) => n + byteLength(v.type), 0),
    flops: schedule.steps.reduce((n, s) => n + costOf(s).flops, 0),
    dispatches: schedule.steps.reduce((n, s) => n + s.plan.dispatches.length, 0),
  };
}

/** `29.8 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 2 ** (10 * step)).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}
