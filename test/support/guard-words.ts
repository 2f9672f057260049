import { patiently } from "../../engine/platform/patience.ts";
import type { Device } from "../../engine/runtime/device.ts";

/** Bytes before and after each buffer: a multiple of what bindings are aligned to. */
const GUARD = 1024;
const MAP_READ = 0x1;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;

interface Guarded {
  readonly size: number;
  readonly label: string;
  /** A signalling NaN of its own, which neither arithmetic nor a copy from another buffer leaves as it is. */
  readonly word: number;
}

/**
 * Puts guard words, NaN as floats, before and after every buffer that a device makes from now on, and has all bindings, writes and copies
 * begin behind them: what a shader that leaves a buffer reads is NaN, and what it writes there shows in `broken`.
 */
export class GuardWords {
  private readonly guarded = new Map<GPUBuffer, Guarded>();
  private made = 0;
  /** Freed by their users, but not before they were looked at. */
  private readonly freed = new Set<GPUBuffer>();
  private readonly encoder: () => GPUCommandEncoder;
  private readonly destroy: (buffer: GPUBuffer) => void;

  /** @param device without buffer sharing, so that each tensor has a buffer of its own */
  constructor(private readonly device: Device) {
    const { gpu } = device;
    const create = device.createBuffer.bind(device);
    this.destroy = device.destroyBuffer.bind(device);
    const { queue } = gpu;
    const write = queue.writeBuffer.bind(queue);
    device.createBuffer = (size, usage, label) => {
      if (usage & MAP_READ) return create(size, usage, label);
      const buffer = create(size + 2 * GUARD, usage | COPY_SRC, label);
      const word = 0x7f800001 + (this.made++ % 0x3ffffe);
      write(buffer, 0, new Uint32Array((size + 2 * GUARD) / 4).fill(word));
      this.guarded.set(buffer, { size, label, word });
      return buffer;
    };
    device.destroyBuffer = (buffer) => {
      if (this.guarded.has(buffer)) this.freed.add(buffer);
      else this.destroy(buffer);
    };
    queue.writeBuffer = (buffer, offset, data, ...rest) => {
      const { size } = this.guarded.get(buffer) ?? {};
      if (size === undefined) {
        write(buffer, offset, data, ...rest);
        return undefined;
      }
      // What fills a buffer to its end spares the guard words.
      const fits = data instanceof Uint8Array && data.byteLength > size ? data.subarray(0, size) : data;
      write(buffer, offset + GUARD, fits as Uint8Array<ArrayBuffer>, ...rest);
      return undefined;
    };
    const bind = gpu.createBindGroup.bind(gpu);
    gpu.createBindGroup = (descriptor) =>
      bind({
        ...descriptor,
        entries: [...descriptor.entries].map((entry) => ({ ...entry, resource: this.inside(entry.resource as GPUBufferBinding) })),
      });
    const encode = gpu.createCommandEncoder.bind(gpu);
    this.encoder = () => encode();
    gpu.createCommandEncoder = (descriptor) => {
      const encoder = encode(descriptor);
      const copy = encoder.copyBufferToBuffer.bind(encoder) as (
        from: GPUBuffer,
        fromOffset: number,
        to: GPUBuffer,
        toOffset: number,
        size: number,
      ) => void;
      encoder.copyBufferToBuffer = ((from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, size: number) =>
        copy(from, fromOffset + this.begin(from), to, toOffset + this.begin(to), size)) as typeof encoder.copyBufferToBuffer;
      return encoder;
    };
  }

  private begin(buffer: GPUBuffer): number {
    return this.guarded.has(buffer) ? GUARD : 0;
  }

  /** A binding that begins behind the guard words and takes in those at the end: a software driver drops what goes beyond a binding. */
  private inside({ buffer, offset = 0, size }: GPUBufferBinding): GPUBufferBinding {
    const guarded = this.guarded.get(buffer);
    return guarded
      ? { buffer, offset: offset + GUARD, size: (size ?? guarded.size - offset) + GUARD }
      : { buffer, offset, ...(size !== undefined && { size }) };
  }

  /** Labels of the buffers whose guard words are no longer what they were. Frees those that their users are done with. */
  async broken(): Promise<string[]> {
    const list = [...this.guarded];
    const staging = this.device.gpu.createBuffer({ size: Math.max(16, list.length * 2 * GUARD), usage: MAP_READ | COPY_DST });
    const encoder = this.encoder();
    for (const [i, [buffer, { size }]] of list.entries()) {
      encoder.copyBufferToBuffer(buffer, 0, staging, i * 2 * GUARD, GUARD);
      encoder.copyBufferToBuffer(buffer, GUARD + size, staging, (i * 2 + 1) * GUARD, GUARD);
    }
    this.device.gpu.queue.submit([encoder.finish()]);
    await patiently(staging.mapAsync(MAP_READ));
    const words = new Uint32Array(staging.getMappedRange());
    const changed = (i: number, guard: number): boolean =>
      words.subarray((i * 2 * GUARD) / 4, ((i + 1) * 2 * GUARD) / 4).some((word) => word !== guard);
    const found = list.filter(([, { word }], i) => changed(i, word)).map(([, { label }]) => label);
    staging.destroy();
    for (const buffer of this.freed) {
      this.guarded.delete(buffer);
      this.destroy(buffer);
    }
    this.freed.clear();
    return found;
  }
}
