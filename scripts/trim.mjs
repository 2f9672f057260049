// Removes from node_modules what this machine never loads: Dawn for other systems, and the Chromium of which only the SwiftShader beside
// it is used. `npm run trim` is for container images and caches; `npm install` brings everything back.
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = fileURLToPath(new URL("../node_modules/", import.meta.url));
const dawn = join(modules, "webgpu", "dist");
const own = `${process.platform}-${process.platform === "darwin" ? "universal" : process.arch}`;
if (!existsSync(join(dawn, own))) throw new Error(`${dawn} has no ${own}: nothing was removed`);

const unused = [
  ...readdirSync(dawn).filter((name) => name !== own).map((name) => join(dawn, name)),
  ...["chromium.br", "al2023.tar.br", "fonts.tar.br"].map((name) => join(modules, "@sparticuz", "chromium", "bin", name)),
].filter((path) => existsSync(path));

function bytesOf(path) {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0) : stat.size;
}

const bytes = unused.reduce((sum, path) => sum + bytesOf(path), 0);
for (const path of unused) rmSync(path, { recursive: true });
console.log(`removed ${unused.length} files and folders that this machine does not use, ${(bytes / 1e6).toFixed(0)} MB`);
