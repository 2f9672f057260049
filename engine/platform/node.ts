import { constants, freemem } from "node:os";
import { NoAdapterError, errorMessage } from "../runtime/errors.ts";
import type { FindAdapter, FoundAdapter } from "../runtime/platform.ts";
import { dawnToggles } from "./dawn-toggles.ts";
import { withQuietStderr } from "./quiet.ts";
import { bundledDriver } from "./swiftshader.ts";

export { readCache, writeCache } from "./cache-node.ts";
export { modelSource, resolvePath } from "./model-source-node.ts";
export { patiently } from "./patience.ts";

/** Bytes of memory that this process can still take, as far as the system says. */
export function freeMemory(): number | undefined {
  return freemem(); // counts what caches would give back, where the system tells
}

type Create = (options: string[]) => GPU;

interface Candidate {
  readonly name: string;
  /** As Dawn spells it: vulkan, metal, d3d12, d3d11, opengl, opengles. */
  readonly backend: string;
}

/** Dawn crashes or hangs when the object from create() is collected while one of its devices lives, so none ever is. */
const alive: GPU[] = [];

/** What drivers printed while being asked, shown if none of them will do. */
const driverTexts: string[] = [];

const BACKEND_NAMES: Readonly<Record<string, string>> = {
  vulkan: "Vulkan",
  metal: "Metal",
  d3d12: "D3D12",
  d3d11: "D3D11",
  opengl: "OpenGL",
  opengles: "OpenGL ES",
};
/** What a Vulkan loader reads to find its drivers. */
const VULKAN_VARIABLES = [
  "VK_DRIVER_FILES",
  "VK_ICD_FILENAMES",
  "VK_ADD_DRIVER_FILES",
  "VK_LOADER_DRIVERS_SELECT",
  "VK_LOADER_DRIVERS_DISABLE",
];
const RTLD_NODELETE = 0x1000;

/**
 * An adapter from Dawn (the `webgpu` package): of the system's, a real GPU, else lavapipe, else another software adapter;
 * if the system has none, or none of the wanted name, the bundled SwiftShader (Linux x64).
 * @throws NoAdapterError listing what there is, or what to install.
 */
export const findAdapter: FindAdapter = async ({ name: wanted, robust = false } = {}) => {
  const create = withFeatures(await loadDawn(), robust);
  const seen: Candidate[] = [];
  const problems: string[] = [];
  const found = await choose(create, wanted, seen, problems);
  if (found) return { ...found, robust };
  try {
    const bundled = await withBundledDriver(() => choose(create, wanted, seen, problems), create);
    if (bundled) return { ...bundled, robust };
  } catch (error) {
    problems.push(errorMessage(error));
  }
  const notes = [...new Set([...problems, ...driverWarnings()])].map((p) => `\n  ${p}`).join("");
  if (seen.length > 0) {
    const list = seen.map((c) => `\n  ${label(c)}`).join("");
    throw new NoAdapterError(
      (wanted === undefined ? "no adapter could be used; available:" : `no adapter matches "${wanted}"; available:`) +
        list +
        (notes && `\nproblems:${notes}`),
    );
  }
  throw new NoAdapterError(`no WebGPU adapter found${notes && `:${notes}`}\n${whatToInstall()}`);
};

async function loadDawn(): Promise<Create> {
  try {
    return (await import("webgpu")).create;
  } catch (cause) {
    throw new NoAdapterError(`the "webgpu" package does not load on ${process.platform} ${process.arch}: ${errorMessage(cause)}`, {
      cause,
    });
  }
}

function label(candidate: Candidate): string {
  return `${candidate.name}, ${BACKEND_NAMES[candidate.backend] ?? candidate.backend}`;
}

/** The best of the adapters visible now that will really be given. Adds all of them to `seen`. */
async function choose(
  create: Create,
  wanted: string | undefined,
  seen: Candidate[],
  problems: string[],
): Promise<Omit<FoundAdapter, "robust"> | undefined> {
  const candidates = await listAdapters(create);
  for (const c of candidates) if (!seen.some((s) => label(s) === label(c))) seen.push(c);
  const matching = candidates.filter((c) => wanted === undefined || label(c).toLowerCase().includes(wanted.toLowerCase()));
  for (const candidate of matching.toSorted((a, b) => rank(a) - rank(b))) {
    try {
      const adapter = await request(create, [`backend=${candidate.backend}`, `adapter=${candidate.name}`]);
      if (adapter) return { adapter, name: candidate.name, backend: BACKEND_NAMES[candidate.backend] ?? candidate.backend };
      problems.push(`${label(candidate)}: lacks what WebGPU requires`);
    } catch (error) {
      problems.push(`${label(candidate)}: ${errorMessage(error)}`);
    }
  }
  return undefined;
}

/** Dawn has no call that lists adapters, but says which there are when asked for one that cannot be. */
async function listAdapters(create: Create): Promise<Candidate[]> {
  try {
    await request(create, ["adapter=\u0001"]);
    return [];
  } catch (error) {
    return [...errorMessage(error).matchAll(/backend: '(.*)', name: '(.*)'/g)]
      .map(([, backend = "", name = ""]) => ({ backend, name }))
      .filter((c) => c.backend !== "null");
  }
}

/** Dawn with the toggles that this engine wants. */
function withFeatures(create: Create, robust: boolean): Create {
  // Quantised timestamps (65 us) would make the times of most ops round to zero.
  const toggles = ["disable-dawn-features=timestamp_quantization", `enable-dawn-features=${dawnToggles(robust).join(",")}`];
  return (options) => create([...options, ...toggles]);
}

function request(create: Create, options: string[]): Promise<GPUAdapter | null> {
  const { result, text } = withQuietStderr(() => {
    const gpu = create(options);
    alive.push(gpu);
    return gpu.requestAdapter({ powerPreference: "high-performance" });
  });
  driverTexts.push(text);
  return result;
}

/**
 * Real GPUs first, then lavapipe, which is several times faster than the other software adapters; native backends before OpenGL and D3D11.
 */
function rank(candidate: Candidate): number {
  const software = /llvmpipe/i.test(candidate.name) ? 1 : /swiftshader|basic render|warp|softpipe/i.test(candidate.name) ? 2 : 0;
  return software * 2 + (["vulkan", "metal", "d3d12"].includes(candidate.backend) ? 0 : 1);
}

/** Runs `attempt` with only the bundled SwiftShader visible to the Vulkan loader. The environment is put back. */
async function withBundledDriver<T>(attempt: () => Promise<T>, create: Create): Promise<T> {
  const driver = bundledDriver();
  const before = VULKAN_VARIABLES.map((name) => [name, process.env[name]] as const);
  for (const name of VULKAN_VARIABLES) delete process.env[name];
  process.env.VK_DRIVER_FILES = driver.manifest;
  process.env.VK_ICD_FILENAMES = driver.manifest; // loaders before 1.3.207
  try {
    if ((await listAdapters(create)).length === 0) loadVulkanLoader(driver.loader);
    return await attempt();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/**
 * Puts a Vulkan loader into this process, for a system without libvulkan.so.1: Dawn's own dlopen then finds it by its
 * soname. Node complains that the library is not an addon and would unload it again, which RTLD_NODELETE forbids.
 */
function loadVulkanLoader(path: string): void {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  } catch (error) {
    if (!/self-register|not a valid|symbol/i.test(errorMessage(error))) throw error;
  }
}

/** The lines that say why an adapter is not usable, without source positions and the warnings that every start brings. */
function driverWarnings(): string[] {
  return driverTexts.flatMap((text) => text.split("\n")).filter((line) => /\S/.test(line) && !/artificially reduced|^\s+at /.test(line));
}

function whatToInstall(): string {
  if (process.platform === "linux") {
    return "Install your GPU's Vulkan driver, or Mesa's software driver: apt-get install mesa-vulkan-drivers (version 24 or later), " +
      "then try again.";
  }
  if (process.platform === "win32") return "Update the graphics driver: Direct3D 12 or Vulkan is needed.";
  if (process.platform === "darwin") {
    return "A Mac with Metal support is needed; over a remote login without a window session there may be none.";
  }
  return "Run on Linux, macOS or Windows with a Vulkan, Metal or Direct3D 12 driver.";
}
