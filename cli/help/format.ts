import type { Command, Help, Option } from "commander";
import { wrapped } from "../terminal/style.ts";
import { COMMAND_GROUPS, HELP_TEXTS } from "./texts.ts";

/** Notes of a command, shown between its options and the flags of every command. */
const NOTES = new WeakMap<Command, string>();

/** Adds a note to a command's help: lines that are not options. */
export function addNotes(command: Command, text: string): Command {
  NOTES.set(command, text);
  return command;
}

/**
 * A command's help: usage, what it does, the options that matter first, the others by purpose, subcommands, examples, notes, and last the
 * flags that every command has.
 */
export function formatHelp(command: Command, helper: Help): string {
  const width = helper.helpWidth ?? 80;
  const termWidth = command.parent === null ? 22 : Math.min(helper.padWidth(command, helper), 30);
  const item = (term: string, text: string): string => helper.formatItem(term, termWidth, text, helper);
  const list = (title: string, items: readonly string[]): string[] => (items.length > 0 ? [`${title}:`, ...items, ""] : []);
  const options = (title: string, of: readonly Option[]): string[] =>
    list(title, of.map((option) => item(helper.optionTerm(option), helper.optionDescription(option))));
  const root = command.parent === null;
  const { main = [], groups = [], examples = [] } = HELP_TEXTS[command.name()] ?? {};
  const globals = root
    ? command.options.filter((o) => o.long !== "--version")
    : helper.visibleGlobalOptions(command).filter((o) => o.long !== "--version");
  const own = helper.visibleOptions(command).filter((option) => !globals.includes(option));
  const wrap = (text: string): string => wrapped(text, width, 0);
  const grouped = byPurpose(own, [[main.length > 0 ? "Options that matter first" : "Options", main], ...groups]);
  return [
    `Usage: ${helper.commandUsage(command)}`,
    "",
    wrap(helper.commandDescription(command)),
    "",
    ...list("Arguments", helper.visibleArguments(command).map((a) => item(helper.argumentTerm(a), helper.argumentDescription(a)))),
    ...(root ? commandLists(command, helper, item, list) : []),
    ...grouped.flatMap(([title, of]) => options(title, of)),
    ...list("Examples", examples.map((line) => shellLines(line, width))),
    ...(NOTES.has(command) ? [wrap(NOTES.get(command)!.trim()), ""] : []),
    ...(root
      ? options("Flags of every command", globals)
      : [wrap(`Flags of every command (lethe --help says what they do): ${globals.map((o) => o.flags).join(", ")}`), ""]),
  ].join("\n");
}

/** A command that can be pasted, broken with backslashes where it is too long. */
function shellLines(command: string, width: number): string {
  const lines = [" "];
  const words = command.match(/"[^"]*"|'[^']*'|\S+/g) ?? [];
  // A flag stays with its value.
  const parts = words.reduce<string[]>((made, word, i) => {
    if (words[i - 1]?.startsWith("-") && !word.startsWith("-")) made.push(`${made.pop()} ${word}`);
    else made.push(word);
    return made;
  }, []);
  for (const word of parts) {
    if (lines.at(-1)!.length + word.length + 3 > width && lines.at(-1)!.trim() !== "") lines.push("     ");
    lines[lines.length - 1] += ` ${word}`;
  }
  return lines.join(" \\\n");
}

/** Options under the titles that name them, each once; what is named nowhere comes last. */
function byPurpose(
  options: readonly Option[],
  groups: readonly (readonly [title: string, flags: readonly string[]])[],
): [title: string, options: Option[]][] {
  const left = new Set(options);
  const take = (flags: readonly string[]): Option[] =>
    flags.flatMap((flag) => {
      const found = [...left].find((option) => option.long === flag);
      if (found) left.delete(found);
      return found ?? [];
    });
  const named = groups.map(([title, flags]): [string, Option[]] => [title, take(flags)]).filter(([, of]) => of.length > 0);
  // Whoever reads this has found --help.
  if (named.length > 0) take(["--help"]);
  return left.size === 0 ? named : [...named, [named.length > 0 ? "Others" : "Options", [...left]]];
}

function commandLists(
  command: Command,
  helper: Help,
  item: (term: string, text: string) => string,
  list: (title: string, items: readonly string[]) => string[],
): string[] {
  const all = helper.visibleCommands(command);
  const named = new Set(COMMAND_GROUPS.flatMap(([, names]) => names));
  const rest = all.map((c) => c.name()).filter((name) => !named.has(name) && name !== "help");
  return [...COMMAND_GROUPS, ["Others", rest] as const].flatMap(([title, names]) =>
    list(
      title,
      names.flatMap((name) => {
        const found = all.find((c) => c.name() === name);
        return found ? [item(found.name(), helper.subcommandDescription(found))] : [];
      }),
    ),
  );
}
