import type { FileSystem } from "../formats/file-system.ts";
import { NoAdapterError, UsageError } from "../runtime/errors.ts";
import { type FindAdapter, nameFromInfo } from "../runtime/platform.ts";

/** A page has no disk to name a model on. @throws UsageError always */
export function modelSource(name: string): { readonly files: FileSystem; readonly folder: string } {
  throw new UsageError(`model "${name}": in a browser, give the model as { files, folder }, e.g. with memoryFiles`);
}

/** Paths are those of the given files. */
export function resolvePath(path: string): string {
  return path;
}

/** A page is not told. */
export function freeMemory(): number | undefined {
  return undefined;
}

/** A browser waits by itself. */
export function patiently<T>(promise: Promise<T>, _hurry = true): Promise<T> {
  return promise;
}

const CACHE = "lethe";

/** What was kept under a name; undefined if nothing was, or the page may keep nothing (no secure context). */
export async function readCache(name: string): Promise<string | undefined> {
  if (typeof caches === "undefined") return undefined;
  return (await (await caches.open(CACHE)).match(`/${CACHE}/${name}`))?.text();
}

/** Keeps a text under a name, in the origin's cache storage. @throws Error where a page may keep nothing */
export async function writeCache(name: string, text: string): Promise<void> {
  if (typeof caches === "undefined") throw new UsageError("this page may keep nothing: open it over https or localhost");
  await (await caches.open(CACHE)).put(`/${CACHE}/${name}`, new Response(text));
}

/** The browser's adapter. A page cannot choose among several: `wanted` is only checked. @throws NoAdapterError */
export const findAdapter: FindAdapter = async ({ name: wanted } = {}) => {
  const gpu: GPU | undefined = typeof navigator === "undefined" ? undefined : navigator.gpu;
  if (!gpu) {
    throw new NoAdapterError(
      "this browser offers no WebGPU (navigator.gpu is missing): use a recent browser, and open the page over https or localhost",
    );
  }
  const adapter = (await gpu.requestAdapter({ powerPreference: "high-performance" })) ?? (await gpu.requestAdapter());
  if (!adapter) throw new NoAdapterError("the browser has WebGPU but no adapter: check that hardware acceleration is on");
  const name = nameFromInfo(adapter.info);
  if (wanted !== undefined && !name.toLowerCase().includes(wanted.toLowerCase())) {
    throw new NoAdapterError(`no adapter matches "${wanted}"; the browser offers "${name}"`);
  }
  return { adapter, name, backend: "", robust: true };
};
