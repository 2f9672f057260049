import { Command } from "commander";
import manifest from "../package.json" with { type: "json" };
import { addGlobalOptions } from "./context.ts";
import { inspectCommand } from "./inspect.ts";
import { tokenizeCommand } from "./tokenize.ts";

/** Lethe's version, from package.json. */
export const VERSION: string = manifest.version;

/** The whole command line. */
export function createProgram(): Command {
  const program = new Command("lethe")
    .description("Did this unlearned diffusion model really forget? Searches for a prompt that makes it draw the erased concept again.")
    .version(VERSION)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .exitOverride();
  addGlobalOptions(program);
  for (const add of [inspectCommand, tokenizeCommand]) add(program);
  return program;
}
