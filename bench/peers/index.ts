import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { bundledDriver } from "../../engine/platform/swiftshader.ts";
import { findAdapter } from "../../engine/platform/node.ts";
import { InputError, errorMessage } from "../../engine/runtime/errors.ts";
import { loadJax } from "./jax.ts";
import { loadOnnxRuntime } from "./onnxruntime.ts";
import type { AbsentPeer, Peer } from "./peer.ts";
import { loadTensorFlow } from "./tensorflow.ts";
import { loadTorchlette } from "./torchlette.ts";

/** Peers' packages, as they are asked for by `npm install --prefix FOLDER PACKAGES --ignore-scripts`. */
export const PEER_PACKAGES = ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-webgpu", "@jax-js/jax", "onnxruntime-node"] as const;

type Require = (name: string) => unknown;

const LOADERS: readonly {
  readonly package: string;
  readonly names: readonly { readonly name: string; readonly webgpu: boolean }[];
  load(require: Require, version: string): Promise<readonly Peer[]>;
}[] = [
  { package: "@tensorflow/tfjs", names: [{ name: "tfjs", webgpu: true }], load: loadTensorFlow },
  { package: "@jax-js/jax", names: [{ name: "jax-js", webgpu: true }], load: loadJax },
  { package: "onnxruntime-node", names: [{ name: "ort-webgpu", webgpu: true }, { name: "ort-cpu", webgpu: false }], load: loadOnnxRuntime },
  { package: "torchlette", names: [{ name: "torchlette", webgpu: true }], load: loadTorchlette },
];

/**
 * The peers installed in a folder, made ready on the adapter of that name; those that are missing or do not start are listed with the
 * reason.
 * Puts WebGPU's globals and `navigator.gpu` into this process, as a browser would have them, for the peers' sake.
 * @throws InputError if there is no such folder
 */
export async function loadPeers(folder: string, adapter: string): Promise<readonly (Peer | AbsentPeer)[]> {
  const root = resolve(folder);
  if (!existsSync(join(root, "node_modules"))) {
    throw new InputError(
      `${folder}: no node_modules in it; install peers with: npm install --prefix ${folder} ${PEER_PACKAGES.join(" ")} --ignore-scripts`,
    );
  }
  await provideWebGpu(adapter);
  const require = createRequire(join(root, "package.json"));
  const all: (Peer | AbsentPeer)[] = [];
  for (const { package: name, names, load } of LOADERS) {
    let version: string | null = null;
    try {
      version = installedVersion(root, name);
      const made = await load(require as Require, version);
      all.push(...made);
      const missing = names.filter((n) => !made.some((p) => p.name === n.name));
      all.push(...missing.map((n) => ({ ...n, version, absent: "did not start" })));
    } catch (error) {
      const absent = version === null ? `not installed in ${folder}` : errorMessage(error);
      all.push(...names.map((n) => ({ ...n, version, absent })));
    }
  }
  return all;
}

/** @throws Error if the package is not there */
function installedVersion(root: string, name: string): string {
  return (JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as { version: string }).version;
}

async function provideWebGpu(adapter: string): Promise<void> {
  const { globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const gpu = {
    requestAdapter: async (): Promise<GPUAdapter> => (await findAdapter({ name: adapter })).adapter,
    getPreferredCanvasFormat: (): string => "bgra8unorm",
    wgslLanguageFeatures: new Set<string>(),
  };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "Node.js", hardwareConcurrency: 1 }, configurable: true });
  // onnxruntime has a Dawn of its own, which is to find the same driver.
  if (/swiftshader/i.test(adapter) && process.env.VK_DRIVER_FILES === undefined && process.platform === "linux") {
    process.env.VK_DRIVER_FILES = bundledDriver().manifest;
  } else if (/llvmpipe/i.test(adapter) && process.env.VK_DRIVER_FILES === undefined) restrictToLavapipe();
}

/** Where distributions put Mesa's software driver. */
const LAVAPIPE = [
  "/usr/share/vulkan/icd.d/lvp_icd.json",
  "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
  "/usr/share/vulkan/icd.d/lvp_icd.aarch64.json",
  "/etc/vulkan/icd.d/lvp_icd.json",
];

function restrictToLavapipe(): void {
  const manifest = LAVAPIPE.find((f) => existsSync(f));
  if (manifest !== undefined && existsSync(dirname(manifest))) process.env.VK_DRIVER_FILES = manifest;
}
