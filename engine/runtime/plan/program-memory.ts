import { type TensorType, type Value, byteLength, formatType } from "../../../kernels/kernel.ts";
import { BufferUsage } from "../buffer-usage.ts";
import type { Device } from "../device.ts";
import { type GraphNode, type GraphValue, asGraphValue } from "../graph.ts";
import { Tensor } from "../tensor.ts";
import type { Assign } from "./assigns.ts";
import { planMemory } from "./memory-plan.ts";
import { type Schedule, checkBindings } from "./schedule.ts";

/** What is copied at a run's end. */
export interface Copy {
  readonly from: GPUBuffer;
  readonly to: GPUBuffer;
  readonly bytes: number;
}

export interface MemoryOptions {
  readonly label: string;
  /** Bytes of the buffer that streamed weights are written to; 0: there is none. */
  readonly windowBytes: number;
  /** Of which parameter leaves it holds. */
  readonly streams: (leaf: string) => boolean;
  readonly parameters: ((name: string, type: TensorType) => Tensor) | undefined;
}

/** Where the values of a program lie on its device. */
export interface ProgramMemory {
  readonly inputs: ReadonlyMap<string, { readonly type: TensorType; readonly buffer: GPUBuffer }>;
  readonly copies: readonly Copy[];
  readonly window: GPUBuffer | undefined;
  /** Bytes of all buffers so far but those of weights and state. */
  readonly bytes: () => number;
  /** @throws Error for a value that the program does not compute */
  readonly of: (value: Value) => GPUBufferBinding;
  readonly scratch: (step: number, index: number) => GPUBufferBinding;
  readonly uniforms: (bytes: number) => GPUBuffer;
  /** Fills with NaN whatever a run must write. */
  readonly poison: () => void;
  /** Frees its buffers; weights and state stay. */
  readonly free: () => void;
}

/**
 * Allocates what a schedule needs: ranges of buffers that are shared with the device's other programs, and buffers of its own for inputs,
 * constants and outputs.
 * @throws Error for a parameter whose tensor has another type than the graph expects, or a tensor larger than one binding of this device
 */
export function allocateProgram(device: Device, schedule: Schedule, options: MemoryOptions): ProgramMemory {
  const { intermediates, claims, scratchClaim, assigns, kept, leaves } = schedule;
  const owned: GPUBuffer[] = [];
  const inputs = new Map<string, { type: TensorType; buffer: GPUBuffer }>();
  const places = new Map<GraphValue, GPUBufferBinding>();
  let bytes = 0;

  const newBuffer = (size: number, usage: number, label: string): GPUBuffer => {
    const buffer = device.createBuffer(size, usage, label);
    owned.push(buffer);
    bytes += size;
    return buffer;
  };
  const of = (value: Value): GPUBufferBinding => {
    const place = places.get(schedule.storage(asGraphValue(value)));
    if (!place) throw new Error(`"${asGraphValue(value).name}" has no memory: it is not computed by this program`);
    return place;
  };
  const bindLeaf = ({ name, leaf, outputs: [output] }: GraphNode): void => {
    const value = output!;
    const { type } = value;
    const bind = (buffer: GPUBuffer): unknown => places.set(value, { buffer });
    if (leaf!.kind === "tensor") bind(leaf!.tensor.buffer);
    else if (leaf!.kind === "parameter") {
      if (options.streams(name)) return;
      if (!options.parameters) throw new Error(`program ${options.label}: parameter "${name}" has no source`);
      const tensor = options.parameters(name, type);
      if (formatType(tensor.type) !== formatType(type)) {
        throw new Error(`parameter "${name}" is ${formatType(tensor.type)} but the model expects ${formatType(type)}`);
      }
      bind(tensor.buffer);
    } else {
      const buffer = newBuffer(byteLength(type), BufferUsage.storage, name);
      if (leaf!.kind === "input") inputs.set(name, { type, buffer });
      else device.gpu.queue.writeBuffer(buffer, 0, leaf!.data);
      bind(buffer);
    }
  };
  const targetBuffer = (target: Assign[0]): GPUBuffer => {
    if (target instanceof Tensor) return target.buffer;
    const value = asGraphValue(target);
    if (!places.has(value)) bindLeaf(value.node); // assigned to, but read by nothing
    return of(value).buffer;
  };

  checkBindings(schedule, device.capabilities);
  for (const node of leaves) bindLeaf(node);
  for (const [v, target] of assigns.placed) places.set(v, { buffer: targetBuffer(target) });
  for (const v of kept) places.set(v, { buffer: newBuffer(byteLength(v.type), BufferUsage.storage, v.name) });
  const plan = planMemory(claims, device.bufferSharing);
  const { windowBytes } = options;
  const sizes = [...plan.buffers, ...(windowBytes > 0 ? [windowBytes] : [])];
  const shared = device.bufferSharing
    ? device.pool.acquire(sizes)
    : sizes.map((size, i) => newBuffer(size, BufferUsage.storage, `slot ${i}`));
  if (device.bufferSharing) bytes += plan.totalBytes + windowBytes;
  const ranges = plan.places.map(({ buffer, offset }, i) => ({ buffer: shared[buffer]!, offset, size: claims[i]!.bytes }));
  intermediates.forEach((v, i) => places.set(v, ranges[i]!));
  return {
    inputs, of,
    copies: assigns.copies.map(([target, value]) => ({
      from: of(value).buffer,
      to: targetBuffer(target),
      bytes: byteLength(target.type),
    })),
    window: windowBytes > 0 ? shared.at(-1)! : undefined,
    bytes: () => bytes,
    scratch: (step, index) => ranges[scratchClaim[step]![index]!]!,
    uniforms: (size) => newBuffer(size, BufferUsage.uniform, "params"),
    poison() {
      for (const buffer of [...shared, ...kept.map((v) => of(v).buffer)]) {
        device.gpu.queue.writeBuffer(buffer, 0, new Uint8Array(buffer.size).fill(0xff));
      }
    },
    free() {
      if (device.bufferSharing) device.pool.release(shared.splice(0));
      for (const buffer of owned.splice(0)) device.destroyBuffer(buffer);
    },
  };
}
