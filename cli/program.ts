import { Command } from "commander";
import { attackCommand } from "./attack.ts";
import { benchCommand } from "./bench.ts";
import { classifyCommand } from "./classify.ts";
import { addGlobalOptions } from "./context.ts";
import { demoCommand } from "./demo.ts";
import { doctorCommand } from "./doctor.ts";
import { evaluateCommand } from "./evaluate.ts";
import { generateCommand } from "./generate.ts";
import { inspectCommand } from "./inspect.ts";
import { mergeCommand } from "./merge.ts";
import { tokenizeCommand } from "./tokenize.ts";
import { verifyCommand } from "./verify.ts";
import { VERSION } from "./version.ts";
import { webCommand } from "./web.ts";

/** The whole command line. */
export function createProgram(): Command {
  const program = new Command("lethe")
    .description("Did this unlearned diffusion model really forget? Searches for a prompt that makes it draw the erased concept again.")
    .version(VERSION)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .exitOverride();
  addGlobalOptions(program);
  for (const add of [demoCommand, generateCommand, attackCommand, evaluateCommand, mergeCommand, classifyCommand, verifyCommand, inspectCommand, tokenizeCommand, doctorCommand, webCommand, benchCommand]) add(program);
  return program;
}
