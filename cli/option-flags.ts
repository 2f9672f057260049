import { type Command, InvalidArgumentError, Option } from "commander";
import type { Option as MethodOption, OptionTable } from "../engine/options/option.ts";
import { flagName, helpOf } from "../engine/options/flags.ts";
import { problemOf } from "../engine/options/values.ts";

/** Adds a table's options to a command, as flags without defaults: what was not given stays absent. */
export function addOptions(command: Command, table: OptionTable): Command {
  for (const [name, option] of Object.entries(table)) command.addOption(flagOf(name, option));
  return command;
}

function flagOf(name: string, option: MethodOption<unknown>): Option {
  const flag = new Option(option.kind === "flag" ? flagName(name) : `${flagName(name)} <${option.value}>`, helpOf(option));
  if (option.kind === "flag") return flag;
  return option.choices ? flag.choices(option.choices) : flag.argParser((text) => valueOf(option, text));
}

/** A flag's text as the option's value. @throws InvalidArgumentError saying what it may be */
function valueOf(option: MethodOption<unknown>, text: string): unknown {
  const number = option.kind === "whole" || option.kind === "number";
  const value = number && text.trim() !== "" ? Number(text) : text;
  const problem = text.trim() === "" ? "is empty" : problemOf(option, value);
  if (problem !== undefined) throw new InvalidArgumentError(`It ${problem}.`);
  return value;
}
