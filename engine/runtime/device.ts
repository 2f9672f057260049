import { takesHalf } from "../../kernels/attention-form.ts";
import { type MathMode, isHalf } from "../../kernels/gemm-table.ts";
import type { Capabilities, MatrixConfig, MatrixUnits } from "../../kernels/kernel.ts";
import { DeviceLostError, GpuError } from "./errors.ts";
import { BufferPool } from "./buffer-pool.ts";
import { type KernelChoice, shippedChoice } from "./choice/kernel-table.ts";
import { type MatrixCheck, SIZE_CONTROL } from "./subgroups/matrix-units.ts";
import { Pacer } from "./pacing.ts";
import { PipelineCache } from "./pipelines.ts";
import type { Platform } from "./platform.ts";

/** What a device is told of how to compute: see `DeviceOptions`. */
export interface DeviceSettings {
  readonly bufferSharing?: boolean | undefined;
  readonly memoryLimit?: number | undefined;
  readonly math?: MathMode | undefined;
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
  /** What the adapter says its matrix units multiply into f32 sums; empty: nothing. */
  readonly matrices: readonly MatrixConfig[];
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
  /** Cuts the runs of all programs into command buffers, in the order of their calls. */
  readonly pacer: Pacer;
  /** Memory of intermediate tensors, shared by all programs. */
  readonly pool: BufferPool;
  /** 16 zero bytes, bound where an optional tensor is absent. */
  readonly nothing: GPUBuffer;
  /** Whether programs share memory between intermediate tensors. */
  readonly bufferSharing: boolean;
  /** What was found of the adapter's matrix units when the device was opened; of f16 operands only where they are allowed. */
  matrixChecks: readonly MatrixCheck[] = [];
  /** Bytes that models stay within, or Infinity. */
  readonly memoryLimit: number;

  readonly #sizes = new Map<GPUBuffer, number>();
  readonly #uncaptured: string[] = [];
  #allocated = 0;
  #peak = 0;
  #flops = 0;
  #capabilities: Capabilities;
  #kernels: KernelChoice;
  #loss: DeviceLostError | undefined;
  #destroyed = false;

  /** Use `openDevice`. @param platform what waits, and knows what memory is free */
  constructor(
    gpu: GPUDevice,
    info: DeviceInfo,
    private readonly platform: Pick<Platform, "freeMemory" | "patiently">,
    { bufferSharing = true, memoryLimit, math = "f32" }: DeviceSettings = {},
  ) {
    this.gpu = gpu;
    this.bufferSharing = bufferSharing;
    this.memoryLimit = memoryLimit ?? (info.software ? platform.freeMemory() : undefined) ?? Infinity;
    this.info = info;
    this.description = [info.name, info.backend, info.software ? "software" : ""].filter(Boolean).join(", ");
    this.features = [...gpu.features].toSorted();
    const fixed = gpu.features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
    this.#capabilities = {
      subgroupSize: fixed ? info.subgroupMinSize : 0,
      software: info.software,
      shaderF16: gpu.features.has("shader-f16"),
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
    this.useSubgroups(this.#capabilities.subgroupSize);
    this.pacer = new Pacer(() => this.#submittedDone(false));
    this.pool = new BufferPool((bytes, usage, label) => this.createBuffer(bytes, usage, label), (buffer) => this.destroyBuffer(buffer));
    this.nothing = this.createBuffer(16, 0x80 /* STORAGE */, "nothing");
  }

  /** Programs made from now on are planned with these variants. */
  useKernels(choice: KernelChoice): void {
    this.#kernels = choice;
    const { table: gemm, attention, subgroupRows } = choice;
    this.#capabilities = { ...this.#capabilities, gemm, attention, subgroupRows, halfActivations: this.halfPrecision };
  }

  /** Shaders compiled from now on have subgroups of so many lanes, and state it where the device lets them. */
  useSubgroups(lanes: number): void {
    this.#capabilities = { ...this.#capabilities, subgroupSize: lanes };
    if (this.features.includes(SIZE_CONTROL)) this.pipelines.statedSubgroups = lanes;
  }

  /** Programs made from now on may be planned for these matrix units. */
  useMatrixUnits(matrixUnits: MatrixUnits): void {
    this.#capabilities = { ...this.#capabilities, matrixUnits };
  }

  /** What kernels are planned for. */
  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  /** Which variants of kernels it computes with, and why. */
  get kernels(): KernelChoice {
    return this.#kernels;
  }

  /** Whether any product, or attention, rounds its operands to f16; intermediate tensors are then stored so. */
  get halfPrecision(): boolean {
    return Object.values(this.#kernels.table).some(isHalf) || Object.values(this.#kernels.attention).some(takesHalf);
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

  /** `usage.peakBytes` counts anew, from what is allocated now. */
  resetPeak(): void {
    this.#peak = this.#allocated;
  }

  /**
   * A buffer of `size` bytes, counted in `usage`.
   * @throws GpuError if it is larger than the device allows. Running out of memory is reported by `check` or the error scope around.
   */
  createBuffer(size: number, usage: number, label: string): GPUBuffer {
    if (size > this.limits.maxBufferSize) {
      throw new GpuError(`buffer "${label}" of ${size} bytes is larger than the device's maxBufferSize of ${this.limits.maxBufferSize}`);
    }
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
    const messages = errors.flatMap((e, i) =>
      e.status === "fulfilled" && e.value ? [`${SCOPES[i] ?? ""} error: ${e.value.message}`] : [],
    );
    if (messages.length > 0) throw new GpuError(`${what}: ${messages.join("\n")}`);
    return value;
  }

  /** @throws DeviceLostError if the device is gone, GpuError with the uncaptured errors since the last call. */
  check(): void {
    this.#throwIfLost();
    const messages = this.#uncaptured.splice(0);
    if (messages.length > 0) {
      throw new GpuError(`the device reported ${messages.length === 1 ? "an error" : `${messages.length} errors`}: ${messages.join("\n")}`);
    }
  }

  /** Waits until all runs asked for so far are done, then does `check`. @throws as `check` */
  async settle(): Promise<void> {
    const { over, done } = await this.pacer.turn(() => ({ over: this.pacer.waiting(), done: this.#submittedDone(true) }));
    await done;
    over();
    this.check();
  }

  /**
   * Has the memory of destroyed buffers freed. Dawn keeps it until something that was submitted after their last use is done, so that two
   * models opened one after the other took the memory of both (22.6 GB for SDXL's 13.6).
   */
  async reclaim(): Promise<void> {
    if (this.#loss || this.#destroyed) return;
    this.gpu.queue.submit([]);
    await this.#submittedDone(true);
  }

  /** Resolves when what was submitted so far is done; `check` says whether it went well. */
  submitted(): Promise<void> {
    return this.#submittedDone(false);
  }

  async #submittedDone(hurry: boolean): Promise<void> {
    // Rejected by a lost device: `check` says so.
    await this.platform.patiently(this.gpu.queue.onSubmittedWorkDone(), hurry).catch(() => undefined);
  }

  /** Waits for `promise`, or until the device is lost. @throws DeviceLostError; whatever the promise rejects with on a living device. */
  async orLost<T>(promise: Promise<T>): Promise<T> {
    try {
      return await this.platform.patiently(promise);
    } catch (error) {
      await Promise.resolve(); // lets the loss, which also rejects this promise, be noted first
      this.#throwIfLost();
      throw error;
    }
  }

  /** Waits until what was asked for is done, then destroys the device. Node ends by itself after that. @throws as `check` */
  async close(): Promise<void> {
    try {
      if (!this.#destroyed) await this.settle();
    } finally {
      this.destroy();
    }
  }

  /** Ends the device at once: what is under way is lost. It may be called again. */
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
