import { type TensorType, byteLength, elementCount, formatType } from "../../kernels/kernel.ts";
import { BufferUsage } from "./buffer-usage.ts";
import type { Device } from "./device.ts";

const MAP_MODE_READ = 1;

/** A tensor in a buffer of its own that lives across runs: a weight or a state. */
export class Tensor {
  readonly buffer: GPUBuffer;

  constructor(readonly device: Device, readonly name: string, readonly type: TensorType) {
    this.buffer = device.createBuffer(byteLength(type), BufferUsage.storage, name);
  }

  /** Writes all elements. @throws Error if the count or the kind of number is wrong. */
  write(data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): this {
    writeBuffer(this.device, this.buffer, this.type, data, this.name);
    return this;
  }

  /** Reads all elements back; f16 tensors come as their packed words. */
  async read(): Promise<Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>> {
    const [bytes] = await readBuffers(this.device, [{ buffer: this.buffer, bytes: byteLength(this.type) }]);
    return decodeBytes(this.type, bytes!);
  }

  /** Queues a copy of all elements. @throws Error unless the other is of the same type and device */
  copyTo(other: Tensor): void {
    const bytes = byteLength(this.type);
    if (other.device !== this.device || other.type.dtype !== this.type.dtype || byteLength(other.type) !== bytes) {
      const where = other.device === this.device ? "" : " on another device";
      throw new Error(`copy of "${this.name}", ${formatType(this.type)}, to "${other.name}": that is ${formatType(other.type)}${where}`);
    }
    const encoder = this.device.gpu.createCommandEncoder({ label: `copy ${this.name}` });
    encoder.copyBufferToBuffer(this.buffer, 0, other.buffer, 0, bytes);
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** Frees its buffer. */
  destroy(): void {
    this.device.destroyBuffer(this.buffer);
  }
}

/** A weight that stays in host memory and is sent to the device for each use. */
export interface HostWeights {
  /** As the device orders them; f16 as packed words. */
  data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
}

/** Words of a tensor: an f16 tensor counts two elements a word. */
function wordCount(type: TensorType): number {
  const n = elementCount(type.shape);
  return type.dtype === "f16" ? Math.ceil(n / 2) : n;
}

/** Queues a write of a whole tensor into its buffer. @throws Error naming the tensor if `data` does not fit its type. */
export function writeBuffer(
  device: Device,
  buffer: GPUBuffer,
  type: TensorType,
  data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
  name: string,
): void {
  const isFloat = data instanceof Float32Array;
  if (data.length !== wordCount(type) || isFloat !== (type.dtype === "f32")) {
    const kind = (floats: boolean): string => (floats ? "floats" : "words");
    const takes = `${wordCount(type)} ${kind(type.dtype === "f32")}`;
    throw new Error(`write to "${name}": ${formatType(type)} takes ${takes}, got ${data.length} ${kind(isFloat)}`);
  }
  device.gpu.queue.writeBuffer(buffer, 0, data);
}

/** Host numbers of a tensor read from a buffer. */
export function decodeBytes(type: TensorType, bytes: ArrayBuffer): Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> {
  const n = wordCount(type);
  return type.dtype === "f32" ? new Float32Array(bytes, 0, n) : new Uint32Array(bytes, 0, n);
}

/** A part of a buffer, from its start. */
export interface BufferPart {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
}

/** Copies that were submitted and not waited for yet. */
export interface PendingRead {
  readonly sources: readonly BufferPart[];
  readonly staging: GPUBuffer;
  /** To be called when the wait for them is over. */
  readonly over: () => void;
}

/** Submits copies of buffers as they are now. To be called in a turn of the pacer. */
export function startRead(device: Device, sources: readonly BufferPart[]): PendingRead {
  const total = sources.reduce((n, s) => n + s.bytes, 0);
  const staging = device.createBuffer(Math.max(16, total), BufferUsage.staging, "readback");
  const encoder = device.gpu.createCommandEncoder({ label: "readback" });
  let offset = 0;
  for (const { buffer, bytes } of sources) {
    encoder.copyBufferToBuffer(buffer, 0, staging, offset, bytes);
    offset += bytes;
  }
  device.gpu.queue.submit([encoder.finish()]);
  return { sources, staging, over: device.pacer.waiting() };
}

/** The copies' bytes, in one map. @throws DeviceLostError or GpuError through `device.check()`. */
export async function finishRead(device: Device, { sources, staging, over }: PendingRead): Promise<ArrayBuffer[]> {
  try {
    await device.orLost(staging.mapAsync(MAP_MODE_READ));
    over();
    device.check();
    const mapped = staging.getMappedRange();
    let offset = 0;
    const results = sources.map(({ bytes }) => mapped.slice(offset, (offset += bytes)));
    staging.unmap();
    return results;
  } finally {
    device.destroyBuffer(staging);
  }
}

/** Copies buffers as they are after the runs asked for so far back to the host. @throws as `finishRead` */
export async function readBuffers(device: Device, sources: readonly BufferPart[]): Promise<ArrayBuffer[]> {
  return finishRead(device, await device.pacer.turn(() => startRead(device, sources)));
}
