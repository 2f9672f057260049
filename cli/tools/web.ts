import type { Command } from "commander";
import { cp } from "node:fs/promises";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import { assetsFolder } from "../../engine/platform/model-source-node.ts";
import { type Context, action } from "../context.ts";
import { wholeNumber } from "../options.ts";
import { requireWritableFolder } from "../output.ts";
import { listenLocally, untilInterrupted } from "../serve/listen.ts";
import { createPageServer } from "./web/server.ts";

interface WebFlags {
  readonly port: number;
  readonly out?: string;
}

export function webCommand(program: Command): void {
  program
    .command("web")
    .description("serve the page on this machine: generate, attack and verify in a browser, on its GPU")
    .option("--port <n>", "port on the loopback address; 0: any free one", wholeNumber(0, 65535), 8420)
    .option(
      "--out <dir>",
      "write the page with the bundled model as static files instead: for any web server, or as a static Space of the hub",
    )
    .action(action<WebFlags>((flags, context) => (flags.out === undefined ? serve(flags.port, context) : write(flags.out, context))));
}

/** dist/web of this checkout or package. @throws FormatError if it has not been built */
function pageFolder(): string {
  const folder = join(dirname(assetsFolder()), "dist", "web");
  if (!existsSync(join(folder, "index.html"))) throw new FormatError(folder, "the page has not been built: run npm run build");
  return folder;
}

/** Serves until it is interrupted. */
async function serve(port: number, context: Context): Promise<void> {
  const server = createPageServer({ "": pageFolder(), assets: assetsFolder() });
  const { signal } = context;
  const url = await listenLocally(server, port);
  context.say(`serving the page to this machine only; stop with Ctrl-C`);
  context.result({ url }, url);
  await untilInterrupted(server, signal);
}

async function write(folder: string, context: Context): Promise<void> {
  await requireWritableFolder(folder);
  await cp(pageFolder(), folder, { recursive: true, filter: (source) => !source.endsWith(".map") });
  await cp(assetsFolder(), join(folder, "assets"), { recursive: true });
  context.say("serve it over https, or from localhost: browsers give WebGPU to no other page");
  context.result({ out: folder }, join(folder, "index.html"));
}
