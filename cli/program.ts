import { Command } from "commander";
import { UsageError } from "../engine/runtime/errors.ts";
import { attackCommand } from "./commands/attack.ts";
import { benchCommand } from "./tools/bench.ts";
import { classifyCommand } from "./commands/classify.ts";
import { addGlobalOptions } from "./context.ts";
import { diffCommand } from "./results/diff.ts";
import { initCommand } from "./init/init.ts";
import { rejudgeCommand } from "./results/rejudge.ts";
import { serveCommand } from "./serve/serve.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./tools/doctor.ts";
import { evaluateCommand } from "./commands/evaluate.ts";
import { generateCommand } from "./commands/generate.ts";
import { inspectCommand } from "./tools/inspect.ts";
import { mergeCommand } from "./commands/merge.ts";
import { qualityCommand } from "./commands/quality.ts";
import { tokenizeCommand } from "./tools/tokenize.ts";
import { unlearnCommand } from "./commands/unlearn.ts";
import { verifyCommand } from "./tools/verify.ts";
import { VERSION } from "../engine/run/version.ts";
import { webCommand } from "./tools/web.ts";

/** The whole command line. */
export function createProgram(): Command {
  const program = new Command("lethe")
    .description("Did this unlearned diffusion model really forget? Searches for a prompt that makes it draw the erased concept again.")
    .version(VERSION)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .exitOverride();
  addGlobalOptions(program);
  program.hook("preAction", (_, command) => refuseFlagsAsValues(command));
  for (const add of [
    demoCommand,
    generateCommand,
    attackCommand,
    unlearnCommand,
    evaluateCommand,
    mergeCommand,
    qualityCommand,
    diffCommand,
    rejudgeCommand,
    initCommand,
    classifyCommand,
    verifyCommand,
    inspectCommand,
    tokenizeCommand,
    doctorCommand,
    webCommand,
    serveCommand,
    benchCommand,
  ]) {
    add(program);
  }
  return program;
}

/** commander takes whatever follows an option as its value: `--out --json` would write a file named `--json`. @throws UsageError */
function refuseFlagsAsValues(command: Command): void {
  const values = command.optsWithGlobals<Record<string, unknown>>();
  const options = [...command.options, ...(command.parent?.options ?? [])];
  for (const option of options) {
    const value = values[option.attributeName()];
    if (option.required && options.some((o) => o.long === value)) {
      throw new UsageError(`option '${option.flags}' has no value: '${String(value)}' is an option itself`);
    }
  }
}
