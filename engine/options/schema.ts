import type { Option, OptionTable } from "./option.ts";
import { helpOf, sentenceOf } from "./flags.ts";

/** What JSON Schema 2020-12 says of one option. */
export interface OptionSchema {
  readonly type?: "integer" | "number" | "string" | "boolean";
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly default?: unknown;
  readonly description: string;
}

const TYPES = { whole: "integer", number: "number", text: "string", file: "string", flag: "boolean" } as const;

function schemaOf(option: Option<unknown>): OptionSchema {
  const { kind, choices, min, max, above, default: value } = option;
  const number = kind === "whole" || kind === "number";
  return {
    ...(kind === "choice" ? { enum: choices ?? [] } : { type: TYPES[kind] }),
    ...(number && min !== undefined && (above ? { exclusiveMinimum: min } : { minimum: min })),
    ...(number && max !== undefined && max < Number.MAX_SAFE_INTEGER && { maximum: max }),
    ...((kind === "text" || kind === "file") && { minLength: 1 }),
    ...(value !== undefined && value !== null && { default: value }),
    description: value === undefined || value === null ? helpOf(option) : sentenceOf(option),
  };
}

/** The properties of an object that may hold a table's options, as JSON Schema has them. */
export function schemaProperties(table: OptionTable): Readonly<Record<string, OptionSchema>> {
  return Object.fromEntries(Object.entries(table).map(([name, option]) => [name, schemaOf(option)]));
}
