import type { MathMode } from "../../kernels/gemm-table.ts";
import { chooseKernels } from "./choice/kernel-choice.ts";
import type { KernelOption } from "./choice/kernel-table.ts";
import { Device } from "./device.ts";
import { NoAdapterError, errorMessage } from "./errors.ts";
import { MATRIX_FEATURES, SIZE_CONTROL, offeredMatrices } from "./subgroups/matrix-units.ts";
import { type FoundAdapter, type Platform, nameFromInfo } from "./platform.ts";

export interface DeviceOptions {
  /** Substring, in any case, of the wanted adapter's description; absent: the best there is. */
  readonly adapter?: string;
  /** "default": nothing above WebGPU's default limits is asked for, as on the least of devices. Default: "adapter", all it offers. */
  readonly limits?: "default" | "adapter";
  /**
   * Operands of matrix products and convolutions: "f16" rounds them to f16 and needs the `shader-f16` feature, "auto" does so where that is
   * there and was measured faster, "f32" (default) does not. All sums are f32.
   */
  readonly math?: MathMode;
  /** Which variants of kernels to compute with. Default: "auto". */
  readonly kernels?: KernelOption;
  /** Told, in a line each, what is measured when the device is opened, and which variants of kernels are wrong on it. */
  readonly say?: (line: string) => void;
  /** False gives every intermediate tensor memory of its own, to isolate a bug. Default: true. */
  readonly bufferSharing?: boolean;
  /**
   * Bytes of device memory to stay within. Default: what the host has free for a software adapter, which shares its memory; otherwise none
   * is known.
   */
  readonly memoryLimit?: number;
  /** Have every access of a shader clamped to its buffer. Default: not in Node, where that can be chosen; a browser always does. */
  readonly robust?: boolean;
  /** Where to ask for the adapter instead of the platform's own place. */
  readonly gpu?: GPU;
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

/**
 * Opens an adapter and a device on it, with the features (subgroups, timestamp-query, shader-f16 if asked) and limits it has.
 * On a GPU seen for the first time its kernels are measured, which takes seconds.
 * @param platform where adapters, memory and the remembered choice of kernels are asked for
 * @throws NoAdapterError if there is no adapter, none of the wanted name, or it lacks what `options.math` or `options.kernels` needs.
 */
export async function openDeviceOn(platform: Platform, options: DeviceOptions = {}): Promise<Device> {
  const { adapter, name, backend, robust } = options.gpu
    ? await adapterOf(options.gpu)
    : await platform.findAdapter({ name: options.adapter, robust: options.robust });
  const raw = adapter.info;
  const features: string[] = ["subgroups", SIZE_CONTROL, "timestamp-query"].filter((f) => adapter.features.has(f));
  const half = options.math === "f16" || options.math === "auto";
  // With f32 arithmetic only such units are of use as take f32.
  if (offeredMatrices(raw).some((c) => half || c.component === "f32")) {
    features.push(...MATRIX_FEATURES.filter((f) => adapter.features.has(f)));
  }
  if (half) {
    if (adapter.features.has("shader-f16")) features.push("shader-f16");
    if (options.math === "f16" && !adapter.features.has("shader-f16")) {
      throw new NoAdapterError(`adapter "${name}" has no shader-f16 feature: use f32 arithmetic (--math f32 or --math auto)`);
    }
  }
  const requiredLimits = options.limits === "default" ? {} : Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]]));
  let gpu: GPUDevice;
  try {
    gpu = await adapter.requestDevice({ label: "lethe", requiredFeatures: features as GPUFeatureName[], requiredLimits });
  } catch (cause) {
    throw new NoAdapterError(`adapter "${name}" was found but gives no device: ${errorMessage(cause)}`, { cause });
  }
  const device = new Device(
    gpu,
    {
      name,
      backend,
      vendor: raw.vendor,
      architecture: raw.architecture,
      device: raw.device,
      description: raw.description,
      subgroupMinSize: raw.subgroupMinSize ?? 0,
      subgroupMaxSize: raw.subgroupMaxSize ?? 0,
      matrices: offeredMatrices(raw),
      software:
        raw.isFallbackAdapter === true ||
        /llvmpipe|lavapipe|swiftshader|basic render|warp/i.test(`${name} ${raw.architecture} ${raw.description}`),
      robust,
    },
    platform,
    options,
  );
  try {
    // Most devices have one size of subgroups and no matrix units.
    if (MATRIX_FEATURES.some((f) => features.includes(f)) || (device.capabilities.subgroupSize === 0 && features.includes(SIZE_CONTROL))) {
      await (await import("./subgroups/subgroup-probe.ts")).settleSubgroups(device, options.say);
    }
    device.useKernels(await chooseKernels(device, options.kernels ?? "auto", options.math ?? "f32", platform, options.say));
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
