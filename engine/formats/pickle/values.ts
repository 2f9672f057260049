/** What an unpickled value can be. Containers never hold functions: nothing that comes out of a pickle can run. */

export type PickleValue =
  | null | boolean | number | bigint | string | Uint8Array
  | PickleList | PickleTuple | PickleDict | PickleSet
  | PickleGlobal | PickleObject | PickleExternal;

export class PickleList {
  readonly items: PickleValue[] = [];
}

export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** `dict` and `OrderedDict`. Keys are compared as JavaScript's Map does: strings and numbers by value, tuples by identity. */
export class PickleDict {
  readonly items = new Map<PickleValue, PickleValue>();
}

/** `set` and `frozenset`. */
export class PickleSet {
  readonly items = new Set<PickleValue>();
}

/** A name the file refers to, such as a class or a dtype. Only a name: nothing is imported. */
export class PickleGlobal {
  constructor(readonly module: string, readonly name: string) {}

  /** `module.name`. */
  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An instance of a class this reader does not know, kept as data: what it would have been made of. */
export class PickleObject {
  /** What BUILD would have set. */
  state: PickleValue = null;
  /** Items of a subclass of dict, list or set. */
  readonly entries = new Map<PickleValue, PickleValue>();
  readonly items: PickleValue[] = [];

  constructor(readonly type: PickleGlobal, readonly args: readonly PickleValue[]) {}
}

/** Base of the values a host puts in (tensors and storages). */
export abstract class PickleExternal {
  /** For error messages. */
  abstract readonly kind: string;
}

/** What a value is, in Python's words, for error messages. */
export function describe(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  if (value instanceof PickleList) return "a list";
  if (value instanceof PickleTuple) return "a tuple";
  if (value instanceof PickleDict) return "a dict";
  if (value instanceof PickleSet) return "a set";
  if (value instanceof PickleGlobal) return value.path;
  if (value instanceof PickleObject) return `an instance of ${value.type.path}`;
  if (value instanceof PickleExternal) return value.kind;
  if (value instanceof Uint8Array) return "bytes";
  if (typeof value === "string") return "a string";
  if (typeof value === "boolean") return "a bool";
  return "a number";
}
