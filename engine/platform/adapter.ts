/**
 * What every platform module exports as `findAdapter`. `#platform` (package.json "imports") is node.ts in Node and
 * browser.ts in a browser bundle, so the engine asks for an adapter in one way.
 */
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
