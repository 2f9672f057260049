/** An adapter, and what only the place it was found in knows of it. */
export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  /** The driver's own name of the adapter, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  readonly name: string;
  /** `Vulkan`, `Metal`, `D3D12`; empty where the platform does not say. */
  readonly backend: string;
  /** Every access of a shader is clamped to its buffer. */
  readonly robust: boolean;
}

export interface AdapterWish {
  /** A substring, in any case, of `NAME, BACKEND`; absent: the best there is. */
  readonly name?: string | undefined;
  /** Have every access of a shader clamped to its buffer, where the platform leaves a choice (Node). A browser always does. Default: no. */
  readonly robust?: boolean | undefined;
}

/** @throws NoAdapterError */
export type FindAdapter = (wish?: AdapterWish) => Promise<FoundAdapter>;

/** A name for an adapter that only its info describes (browsers often leave fields empty). */
export function nameFromInfo(info: GPUAdapterInfo): string {
  return info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(" ") || "unnamed adapter";
}

/**
 * What the runtime takes from the place it runs in. `#platform` (package.json "imports") is such a module: node.ts in Node and browser.ts
 * in a browser bundle. `engine/platform/open-device.ts` hands it in, so that nothing here knows which it is.
 */
export interface Platform {
  readonly findAdapter: FindAdapter;
  /** Bytes of memory that may still be taken; undefined where the place does not say. */
  freeMemory(): number | undefined;
  /**
   * Waits for the GPU without taking a core meanwhile.
   * @param hurry false: that it is told some milliseconds late does no harm. Default: true
   */
  patiently<T>(promise: Promise<T>, hurry?: boolean): Promise<T>;
  /** A text that was kept under a name; undefined if none was. */
  readCache(name: string): Promise<string | undefined>;
  /** @throws Error where nothing can be kept */
  writeCache(name: string, text: string): Promise<void>;
}
