import { Command, type Option } from "commander";
import { missingSettings } from "../engine/run/settings/settings.ts";
import { UsageError } from "../engine/runtime/errors.ts";
import { attackCommand } from "./commands/attack.ts";
import { benchCommand } from "./tools/bench.ts";
import { classifyCommand } from "./commands/classify.ts";
import { addGlobalOptions } from "./context.ts";
import { formatHelp } from "./help/format.ts";
import { widthOf } from "./terminal/style.ts";
import { cardCommand } from "./results/card.ts";
import { diffCommand } from "./results/diff.ts";
import { initCommand } from "./init/init.ts";
import { rejudgeCommand } from "./results/rejudge.ts";
import { serveCommand } from "./serve/serve.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./tools/doctor.ts";
import { estimateCommand } from "./tools/estimate.ts";
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
    .configureHelp({ formatHelp, showGlobalOptions: true, helpWidth: widthOf(process.stdout) ?? 100 })
    .showSuggestionAfterError()
    .exitOverride();
  addGlobalOptions(program);
  program.hook("preAction", (_, command) => {
    refuseFlagsAsValues(command);
    requireAll(command);
  });
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
    cardCommand,
    initCommand,
    classifyCommand,
    verifyCommand,
    inspectCommand,
    estimateCommand,
    tokenizeCommand,
    doctorCommand,
    webCommand,
    serveCommand,
    benchCommand,
  ]) {
    add(program);
  }
  for (const command of program.commands) leaveToRequireAll(command);
  return program;
}

/** Options that a command cannot do without; commander itself stops at the first of them that is missing. */
const NEEDED = new WeakMap<Command, readonly Option[]>();

function leaveToRequireAll(command: Command): void {
  const needed = command.options.filter((option) => option.mandatory);
  for (const option of needed) option.mandatory = false;
  NEEDED.set(command, needed);
  // commander's own, which its types do not have: it names the first argument that is missing, and nothing else.
  const missingArgument = (): never => {
    const lacking = command.registeredArguments.slice(command.args.length).filter((argument) => argument.required);
    const names = lacking.map((argument) => `'${argument.name()}'`).join(", ");
    const options = missingOptions(command);
    throw new UsageError(
      `missing required argument${lacking.length > 1 ? "s" : ""} ${names}${options === undefined ? "" : `; ${options}`}`,
    );
  };
  Object.assign(command, { missingArgument });
}

/** What a command lacks besides: one of several options will do, or it depends on others. */
function alsoMissing(name: string, values: Readonly<Record<string, unknown>>): string[] {
  if (name === "attack") return missingSettings(values);
  const generates = name === "generate" && values["prompt"] === undefined && values["promptsCsv"] === undefined;
  return generates ? ["'--prompt <prompt>' (or '--prompts-csv <file>')"] : [];
}

/** @throws UsageError naming every option that is missing */
function requireAll(command: Command): void {
  const missing = missingOptions(command);
  if (missing !== undefined) throw new UsageError(missing);
}

/** What is said of the options that are missing; undefined if none is. */
function missingOptions(command: Command): string | undefined {
  const values = command.opts<Record<string, unknown>>();
  const missing = (NEEDED.get(command) ?? []).filter((option) => values[option.attributeName()] === undefined);
  const flags = missing.map((option) => `'${option.flags}'`);
  const more = values["resume"] === true ? [] : alsoMissing(command.name(), values);
  const lacking = [...flags, ...(missing.length > 0 ? more.filter((flag) => !flags.includes(flag)) : [])];
  return lacking.length > 0 ? `required option${lacking.length > 1 ? "s" : ""} ${lacking.join(", ")} not specified` : undefined;
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
