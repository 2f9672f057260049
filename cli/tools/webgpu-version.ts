import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Version of the `webgpu` package (Dawn) that is installed; "unknown" if it cannot be found. */
export function webgpuVersion(): string {
  try {
    const entry = createRequire(import.meta.url).resolve("webgpu");
    const manifest = JSON.parse(readFileSync(join(dirname(entry), "package.json"), "utf8")) as { version?: unknown };
    return typeof manifest.version === "string" ? manifest.version : "unknown";
  } catch {
    return "unknown"; // only for people to read; whether Dawn works is told by the device
  }
}
