/**
 * One option of a method. Everything that is said of it anywhere comes from here: its type, default and range, the flag and its help, the
 * JSON schema, the page's field, the record, the check of a resumed run, and the command that makes the run again.
 */
export interface Option<T> {
  readonly kind: "whole" | "number" | "text" | "file" | "choice" | "flag";
  /** null: none is needed. Absent only where `required`. */
  readonly default?: T;
  /** It must be given: a run cannot do without it. */
  readonly required?: true;
  /** Of a number: from `min` to `max`. */
  readonly min?: number;
  readonly max?: number;
  /** `min` itself is too small. */
  readonly above?: true;
  readonly choices?: readonly string[];
  /** The methods it belongs to. Absent: all of them. */
  readonly of?: readonly string[];
  /** Methods with another default. */
  readonly defaultOf?: Readonly<Record<string, T>>;
  /** The default in words, where the value does not say it. */
  readonly defaultNote?: string;
  /** What the value is called in help: `n`, `image.png`. */
  readonly value: string;
  /** One sentence, without its methods and its default. */
  readonly help: string;
  /** What else is wrong with a value; undefined if nothing is. */
  readonly check?: (value: string) => string | undefined;
}

/** Options by name: `learningRate` is the flag `--learning-rate` and the field of a record. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** What a table's options hold. */
export type Values<Table> = { readonly [K in keyof Table]: Table[K] extends Option<infer T> ? T : never };

/** What somebody gave: any of a table's options, none of them null. */
export type Given<Table> = { readonly [K in keyof Table]?: NonNullable<Values<Table>[K]> | undefined };

/** What is said of an option besides its kind. */
type Spec<T> = Omit<Option<T>, "kind" | "value" | "default" | "required"> & { readonly value?: string };
type Default<D> = { readonly default: D };
/** What an option holds whose default is a D: null where nothing is needed. */
type Holds<T, D> = null extends D ? T | null : T;

/** A whole number; null: none. */
export function whole<D extends number | null>(spec: Spec<number> & Default<D>): Option<Holds<number, D>> {
  return { kind: "whole", value: "n", ...spec } as Option<Holds<number, D>>;
}

/** A finite number; null: none. */
export function number<D extends number | null>(spec: Spec<number> & Default<D>): Option<Holds<number, D>> {
  return { kind: "number", value: "x", ...spec } as Option<Holds<number, D>>;
}

/** Text that is not empty; null: none. */
export function text<D extends string | null>(spec: Spec<string> & Default<D>): Option<Holds<string, D>> {
  return { kind: "text", value: "text", ...spec } as Option<Holds<string, D>>;
}

/** Text without which there is no run. It may be empty: what that means is for the method to say. */
export function required(spec: Spec<string>): Option<string> {
  return { kind: "text", value: "text", required: true, ...spec };
}

/** A file or folder by its path; null: none. */
export function file(spec: Spec<string>): Option<string | null> {
  return { kind: "file", value: "file", default: null, ...spec } as Option<string | null>;
}

/** One of several names; null: none of them. */
export function choice<Name extends string, D extends Name | null>(
  names: readonly Name[],
  spec: Spec<Name> & Default<D>,
): Option<Holds<Name, D>> {
  return { kind: "choice", value: "name", choices: names, ...spec } as Option<Holds<Name, D>>;
}

/** Something that is done or not. Default: not. */
export function flag(spec: Spec<boolean>): Option<boolean> {
  return { kind: "flag", value: "", default: false, ...spec };
}

/** Seeds are those of torch's CPU generator; a JavaScript number holds them exactly up to 2^53. */
export const SEED_RANGE = { min: -(2 ** 31), max: Number.MAX_SAFE_INTEGER } as const;
