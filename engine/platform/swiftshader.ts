/**
 * A Vulkan driver for machines that have none: SwiftShader and its Vulkan loader, out of the optional dependency
 * @sparticuz/chromium, unpacked once into the user's cache folder. Linux on x64 only.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { errorMessage } from "../runtime/errors.ts";
import { cacheFolder } from "./cache-node.ts";

const LOADER = "libvulkan.so.1";
const MANIFEST = "vk_swiftshader_icd.json";
const FILES = [LOADER, MANIFEST, "libvk_swiftshader.so"];

export interface BundledDriver {
  /** The driver's manifest, for VK_DRIVER_FILES. */
  readonly manifest: string;
  /** A Vulkan loader, for a machine that has not even that. */
  readonly loader: string;
}

/** The unpacked driver. @throws Error saying why there is none. */
export function bundledDriver(): BundledDriver {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(`the bundled SwiftShader is for Linux on x64, not ${process.platform} on ${process.arch}`);
  }
  const home = packageFolder();
  const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { version: string };
  const archive = readFileSync(join(home, "bin", "swiftshader.tar.br"));
  const cache = cacheFolder();
  let folder: string;
  try {
    folder = unpack(archive, cache, `swiftshader-${version}`);
  } catch (cause) {
    // A home that cannot be written (a container, a read-only mount) is no reason to go without an adapter.
    const error = cause as NodeJS.ErrnoException;
    if (error.syscall === undefined) throw new Error(`the bundled SwiftShader does not unpack: ${errorMessage(cause)}`, { cause });
    const temporary = mkdtempSync(join(tmpdir(), "lethe-"));
    process.once("exit", () => rmSync(temporary, { recursive: true, force: true })); // a library that is loaded needs its file no more
    folder = unpack(archive, temporary, `swiftshader-${version}`);
  }
  return { manifest: join(folder, MANIFEST), loader: join(folder, LOADER) };
}

function packageFolder(): string {
  try {
    return fileURLToPath(new URL("../../", import.meta.resolve("@sparticuz/chromium")));
  } catch (cause) {
    throw new Error(
      "the bundled SwiftShader is missing: the optional package @sparticuz/chromium is not installed (npm install --include=optional)",
      { cause },
    );
  }
}

/** Unpacks into `parent/name` unless it is there. The folder appears whole or not at all, also when two processes start at once. */
function unpack(archive: Uint8Array, parent: string, name: string): string {
  const folder = join(parent, name);
  if (FILES.every((file) => existsSync(join(folder, file)))) return folder;
  mkdirSync(parent, { recursive: true });
  const draft = mkdtempSync(join(parent, `${name}.`));
  try {
    const files = untar(brotliDecompressSync(archive));
    for (const file of FILES) {
      const bytes = files.get(file);
      if (bytes === undefined) throw new Error(`no ${file} in swiftshader.tar.br (it holds ${[...files.keys()].join(", ")})`);
      writeFileSync(join(draft, file), bytes, { mode: 0o755 });
    }
    try {
      renameSync(draft, folder);
    } catch (error) {
      if (!FILES.every((file) => existsSync(join(folder, file)))) throw error; // otherwise another process was first
    }
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

/** Regular files of a POSIX ustar archive, by base name. @throws Error if it is cut short. */
export function untar(tar: Uint8Array): Map<string, Uint8Array> {
  const text = (offset: number, length: number): string => {
    const end = tar.indexOf(0, offset);
    return new TextDecoder().decode(tar.subarray(offset, end >= offset && end < offset + length ? end : offset + length));
  };
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12).trim(), 8);
    const type = text(at + 156, 1);
    const start = at + 512;
    if (!(size >= 0) || start + size > tar.length) throw new Error(`tar entry "${text(at, 100)}" at byte ${at} is cut short`);
    if (type === "0" || type === "") files.set(text(at, 100).split("/").at(-1) ?? "", tar.subarray(start, start + size));
    at = start + Math.ceil(size / 512) * 512;
  }
  return files;
}
