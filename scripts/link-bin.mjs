// node_modules/.bin/lethe, which `npx lethe` in a checkout runs. That npx looks there is said in .npmrc.
import { lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Makes the command for a checkout whose build is in dist/. */
export function linkBin(root) {
  const bin = join(root, "node_modules", ".bin");
  mkdirSync(bin, { recursive: true });
  if (process.platform === "win32") {
    writeFileSync(join(bin, "lethe.cmd"), '@node "%~dp0\\..\\..\\dist\\cli.js" %*\r\n');
    writeFileSync(join(bin, "lethe.ps1"), 'node "$PSScriptRoot\\..\\..\\dist\\cli.js" @args\nexit $LASTEXITCODE\n');
    return;
  }
  const link = join(bin, "lethe");
  if (lstatSync(link, { throwIfNoEntry: false })) rmSync(link);
  symlinkSync("../../dist/cli.js", link);
}
