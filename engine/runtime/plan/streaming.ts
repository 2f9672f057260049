import { byteLength } from "../../../kernels/kernel.ts";
import type { GraphValue } from "../graph.ts";
import type { Device } from "../device.ts";
import type { HostWeights } from "../tensor.ts";
import { BINDING_ALIGNMENT } from "./memory-plan.ts";
import type { Schedule } from "./schedule.ts";

/** Steps whose streamed weights are on the device together. */
interface Segment {
  /** First step, and the one behind the last. */
  readonly from: number;
  readonly to: number;
  /** Where each of its weights lies in the window. */
  readonly offsets: ReadonlyMap<GraphValue, number>;
}

/** How weights that stay in host memory come to the steps that read them: through one buffer, the window, in segments of the run. */
export class StreamPlan {
  constructor(private readonly schedule: Schedule, readonly segments: readonly Segment[]) {}

  /** Of the window; 0 if nothing is streamed. */
  get windowBytes(): number {
    return this.segments.reduce((most, { offsets }) => Math.max(most, alignedSum(offsets.keys())), 0);
  }

  /** What a run sends to the device. */
  get bytesPerRun(): number {
    return this.segments.reduce((n, { offsets }) => n + [...offsets.keys()].reduce((m, v) => m + byteLength(v.type), 0), 0);
  }

  /** Where a streamed weight lies in the window at a step; undefined for anything else. */
  at(value: GraphValue, step: number): { readonly offset: number; readonly size: number } | undefined {
    const held = this.schedule.storage(value);
    const offset = this.segments.find(({ to }) => step < to)?.offsets.get(held);
    return offset === undefined ? undefined : { offset, size: byteLength(held.type) };
  }

  /** A run: each segment's weights are written, then its dispatches submitted. @param submit a range of the dispatches */
  async run(
    device: Device,
    window: GPUBuffer,
    weights: (name: string) => HostWeights | undefined,
    submit: (range: readonly [number, number]) => Promise<void>,
  ): Promise<void> {
    const ends = [0];
    for (const { plan } of this.schedule.steps) ends.push(ends.at(-1)! + plan.dispatches.length);
    let before: Promise<void> | undefined;
    for (const { from, to, offsets } of this.segments) {
      for (const [{ name }, offset] of offsets) device.gpu.queue.writeBuffer(window, offset, weights(name)!.data);
      await submit([ends[from]!, ends[to]!]);
      // Queued writes hold a copy on the host: the next ones are queued while the device works on these, no earlier.
      await before;
      before = device.submitted();
    }
  }
}

const aligned = (v: GraphValue): number => Math.ceil(byteLength(v.type) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
const alignedSum = (values: Iterable<GraphValue>): number => [...values].reduce((n, v) => n + aligned(v), 0);

/** The most that a window takes unless one step reads more. Twice as much changed no time on a software adapter. */
const WINDOW = 256 * 2 ** 20;
/** Of a device's memory. */
const WINDOW_SHARE = 1 / 32;

/**
 * Cuts a run into segments: as many steps at a time as the window holds the weights of. A weight that a later segment reads again, as
 * the backward pass does, is sent again.
 * @param streams whether a parameter leaf, by its name, stays in host memory
 * @param memoryLimit bytes of device memory, by which the window is sized
 */
export function planStreams(schedule: Schedule, streams: (leaf: string) => boolean, memoryLimit: number): StreamPlan {
  const { steps, storage } = schedule;
  const needs = steps.map(({ node }) => [...new Set(node.inputs.flatMap((v) => (v ? [storage(v)] : [])))].filter(
    ({ node: { leaf, name } }) => leaf?.kind === "parameter" && streams(name),
  ));
  const largest = needs.reduce((most, values) => Math.max(most, alignedSum(values)), 0);
  const limit = Math.max(largest, Math.min(WINDOW, memoryLimit * WINDOW_SHARE));
  const segments: { from: number; to: number; offsets: Map<GraphValue, number> }[] = [];
  let end = Infinity;
  needs.forEach((values, step) => {
    const current = segments.at(-1);
    const fresh = values.filter((v) => !current?.offsets.has(v));
    if (!current || end + alignedSum(fresh) > limit) {
      segments.push({ from: step, to: step + 1, offsets: new Map() });
      end = 0;
    }
    const { offsets } = segments.at(-1)!;
    for (const v of values) {
      if (offsets.has(v)) continue;
      offsets.set(v, end);
      end += aligned(v);
    }
    segments.at(-1)!.to = step + 1;
  });
  return new StreamPlan(schedule, segments);
}
