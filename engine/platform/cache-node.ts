import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { writeFileAtomic } from "./node-files.ts";

/**
 * Where small things that were found out are kept: XDG_CACHE_HOME/lethe if that is an absolute path, else the system's usual place for
 * caches.
 */
export function cacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  platform: string = process.platform,
): string {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = environment;
  if (xdg && isAbsolute(xdg)) return join(xdg, "lethe");
  if (platform === "win32" && local) return join(local, "lethe", "cache");
  return join(homedir(), platform === "darwin" ? "Library/Caches" : ".cache", "lethe");
}

/** What was kept under a name; undefined if nothing can be read. */
export async function readCache(name: string): Promise<string | undefined> {
  try {
    return await readFile(join(cacheFolder(), `${name}.json`), "utf8");
  } catch {
    return undefined; // never written, or not ours to read: it is found out again
  }
}

/** Keeps a text under a name. @throws Error if the folder cannot be written */
export async function writeCache(name: string, text: string): Promise<void> {
  await writeFileAtomic(join(cacheFolder(), `${name}.json`), text);
}
