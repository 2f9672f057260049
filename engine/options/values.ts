import { UsageError } from "../runtime/errors.ts";
import type { Given, Option, OptionTable, Values } from "./option.ts";

/** A method's default of an option; undefined of one that is required. */
export function defaultOf<T>(option: Option<T>, method?: string): T | undefined {
  return method !== undefined && option.defaultOf && Object.hasOwn(option.defaultOf, method) ? option.defaultOf[method] : option.default;
}

/** Every option's default, but of those that are required. @param method whose, where methods have other defaults */
export function defaultsOf<Table extends OptionTable>(table: Table, method?: string): Values<Table> {
  return Object.fromEntries(
    Object.entries(table)
      .filter(([, option]) => !option.required)
      .map(([name, option]) => [name, defaultOf(option, method)]),
  ) as Values<Table>;
}

/** What an option may be, in words: "a whole number from 1 to 64". */
function expected({ kind, min = -Infinity, max = Infinity, above }: Option<unknown>): string {
  if (kind === "flag") return "true or false";
  if (kind === "text" || kind === "file") return "a text that is not empty";
  const low = !Number.isFinite(min) || min <= -Number.MAX_SAFE_INTEGER ? "" : above ? ` above ${min}` : ` of at least ${min}`;
  const range = max < Number.MAX_SAFE_INTEGER ? ` from ${min} to ${max}` : low;
  return `${kind === "whole" ? "a whole number" : "a number"}${range}`;
}

function fits({ kind, min = -Infinity, max = Infinity, above, choices = [], required }: Option<unknown>, value: unknown): boolean {
  if (kind === "choice") return typeof value === "string" && choices.includes(value);
  if (kind === "flag") return typeof value === "boolean";
  if (kind === "text" || kind === "file") return typeof value === "string" && (required === true || value.trim() !== "");
  if (typeof value !== "number" || (kind === "whole" ? !Number.isSafeInteger(value) : !Number.isFinite(value))) return false;
  return (above ? value > min : value >= min) && value <= max;
}

/** What is wrong with a value, as the end of a sentence that begins with the option's name; undefined if nothing is. */
export function problemOf(option: Option<unknown>, value: unknown): string | undefined {
  if (value === null && option.default === null) return undefined;
  const got = JSON.stringify(value) ?? "nothing";
  if (!fits(option, value)) {
    return option.kind === "choice"
      ? `${got} is not known; choose one of ${option.choices?.join(", ")}`
      : `must be ${expected(option)}, got ${typeof value === "number" ? value : got}`;
  }
  const problem = typeof value === "string" ? option.check?.(value) : undefined;
  return problem && `${problem}, got ${JSON.stringify(value)}`;
}

/**
 * A value that an option allows.
 * @param name the option's, for errors
 * @throws UsageError saying what it may be
 */
export function checked<T>(name: string, option: Option<T>, value: unknown): T {
  const problem = problemOf(option, value);
  if (problem !== undefined) throw new UsageError(`${name} ${problem}`);
  return value as T;
}

/**
 * What was given with the method's defaults for what was not, all of it checked.
 * @throws UsageError naming the option, what it is and what it may be
 */
export function filledIn<Table extends OptionTable>(table: Table, given: Given<Table>, method?: string): Values<Table> {
  const defaults = defaultsOf(table, method);
  return Object.fromEntries(
    Object.entries(table).map(([name, option]) => [name, checked(name, option, given[name] ?? defaults[name])]),
  ) as Values<Table>;
}

/** Those of an object's fields that are a table's options and hold something. */
export function pick<Table extends OptionTable>(table: Table, fields: Readonly<Record<string, unknown>>): Given<Table> {
  return Object.fromEntries(
    Object.keys(table).flatMap((name) => (fields[name] === undefined || fields[name] === null ? [] : [[name, fields[name]]])),
  ) as Given<Table>;
}

/**
 * Whether a JSON value has every option of a table, each of the right kind; ranges do not count, as they may have been others when it was
 * written.
 */
export function isValues(table: OptionTable, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  const types = { whole: "number", number: "number", text: "string", file: "string", choice: "string", flag: "boolean" } as const;
  return Object.entries(table).every(([name, option]) =>
    fields[name] === null ? option.default === null : typeof fields[name] === types[option.kind],
  );
}

/** The options of a table that name files or folders. */
export function fileOptions(table: OptionTable): string[] {
  return Object.entries(table).flatMap(([name, { kind }]) => (kind === "file" ? [name] : []));
}
