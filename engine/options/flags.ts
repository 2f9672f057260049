import { type Option, type OptionTable } from "./option.ts";
import { defaultOf } from "./values.ts";

/** More methods than this are not listed in an option's help. */
const FEW = 3;

/** `learningRate` as `--learning-rate`. */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
}

/** The flags that make these values, leaving out those at the method's defaults. */
export function asFlags(table: OptionTable, values: Readonly<Record<string, unknown>>, method?: string): string[] {
  return Object.entries(table).flatMap(([name, option]) => {
    const value = values[name];
    if (value === undefined || value === null || value === false || value === defaultOf(option, method)) return [];
    return value === true ? [flagName(name)] : [flagName(name), String(value)];
  });
}

/** Says which options hold something else than their default though they are not the method's, a sentence each. */
export function unusedNotes(table: OptionTable, values: Readonly<Record<string, unknown>>, method: string): string[] {
  return Object.entries(table).flatMap(([name, option]) => {
    const { of } = option;
    if (!of || of.includes(method) || (values[name] ?? null) === (defaultOf(option, method) ?? null)) return [];
    return [`${flagName(name)} changes nothing: ${method} does not use it (only ${of.join(", ")})`];
  });
}

/** An option's sentence, after the methods it is of where these are few. */
export function sentenceOf({ of = [], help }: Option<unknown>): string {
  return of.length > 0 && of.length <= FEW ? `${of.join(", ")}: ${help}` : help;
}

/** An option's sentence with its default. */
export function helpOf(option: Option<unknown>): string {
  const { default: value, defaultNote, kind } = option;
  const note = defaultNote ?? (value === undefined || value === null || kind === "flag" ? undefined : String(value));
  return `${sentenceOf(option)}${note === undefined ? "" : ` (default: ${note})`}`;
}
