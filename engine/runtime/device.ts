import { findAdapter, freeMemory, patiently } from "#platform";
import { type MathMode, isHalf } from "../../kernels/gemm-variants.ts";
import type { Capabilities } from "../../kernels/kernel.ts";
import { type FoundAdapter, nameFromInfo } from "../platform/adapter.ts";
import { DeviceLostError, GpuError, NoAdapterError, errorMessage } from "./errors.ts";
import { BufferPool } from "./buffer-pool.ts";
import { type KernelChoice, type KernelOption, chooseKernels, shippedChoice } from "./choice/kernel-choice.ts";
import { MATRICES, offersMatrices } from "./matrix-units.ts";
import { PipelineCache } from "./pipelines.ts";
import type { Profiler } from "./profile/profiler.ts";

export interface DeviceOptions {
  /** Substring, in any case, of the wanted adapter's description; absent: the best there is. */
  readonly adapter?: string;
  /** "default": nothing above WebGPU's default limits is asked for, as on the least of devices. Default: "adapter", all it offers. */
  readonly limits?: "default" | "adapter";
  /** Operands of matrix products and convolutions: "f16" rounds them to f16 and needs the `shader-f16` feature, "auto" does so where that is there and was measured faster, "f32" (default) does not. All sums are f32. */
  readonly math?: MathMode;
  /** Which variants of kernels to compute with. Default: "auto". */
  readonly kernels?: KernelOption;
  /** Told, in a line each, what is measured when the device is opened, and which variants of kernels are wrong on it. */
  readonly say?: (line: string) => void;
  /** False gives every intermediate tensor memory of its own, to isolate a bug. Default: true. */
  readonly bufferSharing?: boolean;
  /** Bytes of device memory to stay within. Default: what the host has free for a software adapter, which shares its memory; otherwise none is known. */
  readonly memoryLimit?: number;
  /** Have every access of a shader clamped to its buffer. Default: not in Node, where that can be chosen; a browser always does. */
  readonly robust?: boolean;
  /** Where to ask for the adapter instead of the platform's own place. */
  readonly gpu?: GPU;
}

export interface DeviceInfo {
  readonly name: string;
  readonly backend: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  /** The driver, as it describes itself. */
  readonly description: string;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** The adapter multiplies f16 matrices of 16 x 16 x 16 into f32 sums, an experimental feature of Dawn's. */
  readonly matrices: boolean;
  readonly software: boolean;
  /** Every access of a shader is clamped to its buffer. */
  readonly robust: boolean;
}

export interface DeviceUsage {
  /** Bytes in buffers created by `createBuffer` and not destroyed. */
  readonly allocatedBytes: number;
  /** The most that `allocatedBytes` has been since the device was opened or `resetPeak` was called. */
  readonly peakBytes: number;
  /** Floating-point operations of all program runs so far, by the kernels' own counts. */
  readonly flops: number;
}

/** The limits a compute program can run into; all of them are numbers that larger is better for. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxUniformBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const;

const SCOPES = ["validation", "out-of-memory", "internal"] as const;

/** A GPUDevice with what the engine must know of it: what it can do, what memory it holds, what went wrong. */
export class Device {
  readonly gpu: GPUDevice;
  /** For people and run records: `llvmpipe (LLVM 15.0.6, 256 bits), Vulkan, software`. */
  readonly description: string;
  readonly info: DeviceInfo;
  /** Features that were requested and granted. */
  readonly features: readonly string[];
  /** Resolves if the device is lost other than by `destroy()`. */
  readonly lost: Promise<DeviceLostError>;
  /** Pipelines made on this device. */
  readonly pipelines: PipelineCache;
  /** Memory of intermediate tensors, shared by all programs. */
  readonly pool: BufferPool;
  /** 16 zero bytes, bound where an optional tensor is absent. */
  readonly nothing: GPUBuffer;
  /** Whether programs share memory between intermediate tensors. */
  readonly bufferSharing: boolean;
  /** Bytes that models stay within, or Infinity. */
  readonly memoryLimit: number;
  /** Set to measure the runs of every program. */
  profiler: Profiler | undefined;

  readonly #sizes = new Map<GPUBuffer, number>();
  readonly #uncaptured: string[] = [];
  #allocated = 0;
  #peak = 0;
  #flops = 0;
  #capabilities: Capabilities;
  #kernels: KernelChoice;
  #loss: DeviceLostError | undefined;
  #destroyed = false;

  /** Use `openDevice`. */
  constructor(gpu: GPUDevice, info: DeviceInfo, { bufferSharing = true, memoryLimit, math = "f32" }: Pick<DeviceOptions, "bufferSharing" | "memoryLimit" | "math"> = {}) {
    this.gpu = gpu;
    this.bufferSharing = bufferSharing;
    this.memoryLimit = memoryLimit ?? (info.software ? freeMemory() : undefined) ?? Infinity;
    this.info = info;
    this.description = [info.name, info.backend, info.software ? "software" : ""].filter(Boolean).join(", ");
    this.features = [...gpu.features].toSorted();
    const fixed = gpu.features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
    this.#capabilities = {
      subgroupSize: fixed ? info.subgroupMinSize : 0,
      software: info.software,
      shaderF16: gpu.features.has("shader-f16"),
      matrixUnits: info.matrices && fixed && info.subgroupMinSize === 32 && gpu.features.has(MATRICES),
      maxComputeWorkgroupStorageSize: gpu.limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: gpu.limits.maxComputeInvocationsPerWorkgroup,
      maxStorageBufferBindingSize: gpu.limits.maxStorageBufferBindingSize,
    };
    this.#kernels = shippedChoice(this.#capabilities, math);
    this.useKernels(this.#kernels);
    gpu.onuncapturederror = (event) => void this.#uncaptured.push(event.error.message);
    this.lost = new Promise((resolve) => {
      void gpu.lost.then(({ reason, message }) => {
        if (this.#destroyed) return;
        this.#loss = new DeviceLostError(`the device "${this.description}" was lost (${reason}): ${message || "no reason given"}`);
        resolve(this.#loss);
      });
    });
    this.pipelines = new PipelineCache(this);
    this.pool = new BufferPool((bytes, usage, label) => this.createBuffer(bytes, usage, label), (buffer) => this.destroyBuffer(buffer));
    this.nothing = this.createBuffer(16, 0x80 /* STORAGE */, "nothing");
  }

  /** Programs made from now on are planned with these variants. */
  useKernels(choice: KernelChoice): void {
    this.#kernels = choice;
    this.#capabilities = { ...this.#capabilities, gemm: choice.table, subgroupRows: choice.subgroupRows };
  }

  /** What kernels are planned for. */
  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  /** Which variants of kernels it computes with, and why. */
  get kernels(): KernelChoice {
    return this.#kernels;
  }

  /** Whether any product rounds its operands to f16. */
  get halfPrecision(): boolean {
    return Object.values(this.#kernels.table).some(isHalf);
  }

  get limits(): GPUSupportedLimits {
    return this.gpu.limits;
  }

  get usage(): DeviceUsage {
    return { allocatedBytes: this.#allocated, peakBytes: this.#peak, flops: this.#flops };
  }

  /** Adds to `usage.flops`. */
  countFlops(flops: number): void {
    this.#flops += flops;
  }

  resetPeak(): void {
    this.#peak = this.#allocated;
  }

  /**
   * A buffer of `size` bytes, counted in `usage`.
   * @throws GpuError if it is larger than the device allows. Running out of memory is reported by `check` or the error scope around.
   */
  createBuffer(size: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    if (size > this.limits.maxBufferSize) throw new GpuError(`buffer "${label}" of ${size} bytes is larger than the device's maxBufferSize of ${this.limits.maxBufferSize}`);
    const buffer = this.gpu.createBuffer({ size, usage, label });
    this.#sizes.set(buffer, size);
    this.#allocated += size;
    this.#peak = Math.max(this.#peak, this.#allocated);
    return buffer;
  }

  /** Frees a buffer of `createBuffer`. Freeing it twice counts once. */
  destroyBuffer(buffer: GPUBuffer): void {
    this.#allocated -= this.#sizes.get(buffer) ?? 0;
    this.#sizes.delete(buffer);
    buffer.destroy();
  }

  /**
   * Runs `fn` and waits for the device's word on the calls it made before its first await; later calls are not covered,
   * so that two scopes open at a time cannot take each other's errors.
   * @param what names the work in the error.
   * @throws GpuError on a validation, out-of-memory or internal error; whatever `fn` throws.
   */
  async withErrorScope<T>(what: string, fn: () => T): Promise<Awaited<T>> {
    for (const filter of SCOPES) this.gpu.pushErrorScope(filter);
    let result: T;
    let popped: Promise<GPUError | null>[] = [];
    try {
      result = fn();
    } finally {
      popped = SCOPES.map(() => this.gpu.popErrorScope());
      for (const p of popped) p.catch(() => undefined); // a lost device: `check` below says so
    }
    const value = await result;
    const errors = (await Promise.allSettled(popped)).toReversed();
    this.#throwIfLost();
    const messages = errors.flatMap((e, i) => (e.status === "fulfilled" && e.value ? [`${SCOPES[i] ?? ""} error: ${e.value.message}`] : []));
    if (messages.length > 0) throw new GpuError(`${what}: ${messages.join("\n")}`);
    return value;
  }

  /** @throws DeviceLostError if the device is gone, GpuError with the uncaptured errors since the last call. */
  check(): void {
    this.#throwIfLost();
    const messages = this.#uncaptured.splice(0);
    if (messages.length > 0) throw new GpuError(`the device reported ${messages.length === 1 ? "an error" : `${messages.length} errors`}: ${messages.join("\n")}`);
  }

  /** Waits until all submitted work is done, then does `check`. @throws as `check` */
  async settle(): Promise<void> {
    await patiently(this.gpu.queue.onSubmittedWorkDone()).catch(() => undefined); // rejected by a lost device: `check` says so
    this.check();
  }

  /** Waits for `promise`, or until the device is lost. @throws DeviceLostError; whatever the promise rejects with on a living device. */
  async orLost<T>(promise: Promise<T>): Promise<T> {
    try {
      return await patiently(promise);
    } catch (error) {
      await Promise.resolve(); // lets the loss, which also rejects this promise, be noted first
      this.#throwIfLost();
      throw error;
    }
  }

  destroy(): void {
    this.#destroyed = true;
    this.gpu.destroy();
    this.#sizes.clear();
    this.#allocated = 0;
  }

  #throwIfLost(): void {
    if (this.#loss) throw this.#loss;
  }
}

/**
 * Opens an adapter and a device on it, with the features (subgroups, timestamp-query, shader-f16 if asked) and limits it has.
 * On a GPU seen for the first time its kernels are measured, which takes seconds.
 * @throws NoAdapterError if there is no adapter, none of the wanted name, or it lacks what `options.math` or `options.kernels` needs.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const { adapter, name, backend, robust } = options.gpu ? await adapterOf(options.gpu) : await findAdapter({ name: options.adapter, robust: options.robust });
  const raw = adapter.info;
  const features: GPUFeatureName[] = (["subgroups", "timestamp-query"] as const).filter((f) => adapter.features.has(f));
  if (options.math === "f16" || options.math === "auto") {
    if (adapter.features.has("shader-f16")) features.push("shader-f16");
    if (adapter.features.has(MATRICES)) features.push(MATRICES);
    if (options.math === "f16" && !adapter.features.has("shader-f16")) throw new NoAdapterError(`adapter "${name}" has no shader-f16 feature: use f32 arithmetic (--math f32 or --math auto)`);
  }
  const requiredLimits = options.limits === "default" ? {} : Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]]));
  let gpu: GPUDevice;
  try {
    gpu = await adapter.requestDevice({ label: "lethe", requiredFeatures: features, requiredLimits });
  } catch (cause) {
    throw new NoAdapterError(`adapter "${name}" was found but gives no device: ${errorMessage(cause)}`, { cause });
  }
  const device = new Device(gpu, {
    name,
    backend,
    vendor: raw.vendor,
    architecture: raw.architecture,
    device: raw.device,
    description: raw.description,
    subgroupMinSize: raw.subgroupMinSize ?? 0,
    subgroupMaxSize: raw.subgroupMaxSize ?? 0,
    matrices: offersMatrices(raw),
    software: raw.isFallbackAdapter === true || /llvmpipe|lavapipe|swiftshader|basic render|warp/i.test(`${name} ${raw.architecture} ${raw.description}`),
    robust,
  }, options);
  try {
    device.useKernels(await chooseKernels(device, options.kernels ?? "auto", options.math ?? "f32", options.say));
  } catch (error) {
    device.destroy();
    throw error;
  }
  device.resetPeak();
  return device;
}

async function adapterOf(gpu: GPU): Promise<FoundAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new NoAdapterError("the given GPU object offers no adapter");
  return { adapter, name: nameFromInfo(adapter.info), backend: "", robust: true };
}
