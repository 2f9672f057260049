// Stable Diffusion 1.4 at full size with made-up weights: writes it as people have it, and measures how long a model takes to load and what
// memory.
//   node scripts/full-size.mjs write-checkpoint FILE.ckpt     4.3 GB, the original code's names, torch's zip form
//   node scripts/full-size.mjs write-folder DIR               the same numbers in diffusers layout, in shards
//   node scripts/full-size.mjs load MODEL [ADAPTER] [f16]     seconds, host peak, device bytes
import { build } from "esbuild";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { nodeOptions } from "./build.mjs";

const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const [command, path, ...rest] = process.argv.slice(2);
if (!["write-checkpoint", "write-folder", "load"].includes(command) || path === undefined) {
  console.error("usage: node scripts/full-size.mjs write-checkpoint FILE.ckpt | write-folder DIR | load MODEL [ADAPTER] [f16]");
  process.exit(2);
}
const outfile = join(root, `dist/full-size-${process.pid}.mjs`);
const contents = 'export * from "./test/support/full-size.ts"; export * from "./bench/load-time.ts";';
await build({ ...nodeOptions, sourcemap: false, stdin: { contents, resolveDir: root, loader: "ts" }, outfile });
let code = 0;
try {
  const { writeOriginalCheckpoint, writeShardedFolder, measureLoad } = await import(pathToFileURL(outfile));

  if (command === "write-checkpoint") writeOriginalCheckpoint(path);
  else if (command === "write-folder") writeShardedFolder(path);
  else {
    const adapter = rest.find((word) => word !== "f16");
    const r = await measureLoad(path, { ...(adapter && { adapter }), weights: rest.includes("f16") ? "f16" : "f32" });
    console.log(
      `${r.model} as ${r.weights} on ${r.adapter}: ${r.seconds.toFixed(1)} s (CPU ${r.cpuSeconds.toFixed(1)} s), host peak ` +
        `${mb(r.hostPeakBytes)} (of it ${mb(r.baseBytes)} before), JavaScript ${mb(r.arraysPeakBytes)}, device ${mb(r.deviceBytes)}`,
    );
  }
} catch (error) {
  console.error(error);
  code = 1;
} finally {
  rmSync(outfile, { force: true });
}
process.exit(code); // the driver may keep the process alive
