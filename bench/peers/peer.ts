import { type NDArray, fromChannelsLast, toChannelsLast } from "../../engine/nn/array.ts";
import type { OpData } from "../ops/record.ts";
import type { OpShape } from "../ops/cases.ts";
import type { Direction } from "../results.ts";
import type { Subject } from "../measure.ts";

/** An op on another engine, ready to be run. */
export interface PeerRun extends Subject {
  /** What comes with its numbers and must be known to read them. */
  readonly note?: string;
  /** What the last run computed, in our layout: forward, the result; with gradient, the gradient of the first input. */
  read(): Promise<Float32Array>;
  destroy(): void | Promise<void>;
}

/** Another engine, taken from a folder outside the project. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  /** Whether it runs on the same WebGPU adapter; what does not is shown, but is not a bar to beat. */
  readonly webgpu: boolean;
  /** Whether it differentiates; what does not is not asked to. */
  readonly gradients: boolean;
  /** The ways this engine can do the op, often one; text: why it cannot. */
  prepare(shape: OpShape, direction: Direction, data: OpData): Promise<readonly PeerRun[] | string>;
}

/** Ops on pictures, which some peers have channels first. */
const ON_PICTURES: ReadonlySet<string> = new Set(["conv2d", "group-norm"] satisfies OpShape["op"][]);

/** An op's numbers with the channels of pictures first. */
export function channelsFirst({ op }: OpShape, data: Float32Array<ArrayBuffer>, shape: readonly number[]): NDArray {
  return ON_PICTURES.has(op) && shape.length === 4 ? fromChannelsLast(data, shape as [number, number, number, number]) : { data, shape };
}

/** The same back. @param shape in our layout */
export function channelsLast({ op }: OpShape, data: Float32Array<ArrayBuffer>, shape: readonly number[]): Float32Array {
  const [n, h, w, c] = shape as [number, number, number, number];
  return ON_PICTURES.has(op) ? toChannelsLast({ data, shape: [n, c, h, w] }) : data;
}

/** A peer that cannot take part, and why. */
export interface AbsentPeer {
  readonly name: string;
  readonly version: string | null;
  readonly webgpu: boolean;
  readonly absent: string;
}
