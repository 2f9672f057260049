import { execFile } from "node:child_process";
import { cpus, loadavg, totalmem } from "node:os";
import { promisify } from "node:util";
import type { Device } from "../engine/runtime/device.ts";
import type { Stamp } from "./results.ts";

/** Where, when and of what numbers are. @param folder of the checkout whose commit is noted */
export async function stamp(
  device: Device,
  versions: { readonly lethe: string; readonly webgpu: string },
  options: Stamp["options"],
  folder: string,
): Promise<Stamp> {
  const { info, capabilities, features } = device;
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    commit: await commit(folder),
    adapter: {
      description: device.description,
      driver: info.description,
      vendor: info.vendor,
      architecture: info.architecture,
      device: info.device,
      software: info.software,
      subgroupSize: capabilities.subgroupSize,
      features,
    },
    versions: { ...versions, node: process.versions.node },
    machine: {
      platform: process.platform,
      arch: process.arch,
      cpu: processors[0]?.model.trim() ?? "unknown",
      cores: processors.length,
      memoryBytes: totalmem(),
      load: loadavg()[0] ?? 0,
    },
    options,
  };
}

/** The checkout's commit, "+" behind it if tracked files differ from it; null where there is no git or no checkout. */
async function commit(folder: string): Promise<string | null> {
  const git = async (...args: string[]): Promise<string> => (await promisify(execFile)("git", args, { cwd: folder })).stdout.trim();
  try {
    const [hash, changed] = [await git("rev-parse", "--short=12", "HEAD"), await git("status", "--porcelain", "--untracked-files=no")];
    return changed === "" ? hash : `${hash}+`;
  } catch {
    return null; // an installed package: the version says what it is
  }
}
