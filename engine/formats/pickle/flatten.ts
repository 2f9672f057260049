/** From a checkpoint's nested containers to a flat list of named tensors: which of them are the weights is told by structure. */
import { FormatError, quote } from "../errors.ts";
import { describe, PickleDict, PickleList, PickleObject, PickleTuple, type PickleValue } from "./values.ts";
import { ModuleReader } from "./module.ts";
import { TorchTensor } from "./torch-values.ts";

/** Keys under which training tools put weights whose names have no dots, in the order tried. */
const WRAPPERS = ["state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params"];

/** Keys of averaged copies: of two state dicts with the same names the one below such a key is the average. */
const AVERAGED = /ema|avg|averag|shadow|swa|polyak|teacher/i;

/** More state dicts than these are not compared with each other. */
const MAX_COPIES = 64;
const MAX_DEPTH = 64;
const MAX_VISITS = 4_000_000;
const MAX_NAME = 4096;

/** What a tensor is, by its place: one of the weights; of an averaged (EMA) copy of them; or something kept beside them. */
export type TensorRole = "weights" | "averaged" | "beside";

export interface Flattened {
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  /** Of the tensors that are not weights. */
  readonly roles: ReadonlyMap<string, Exclude<TensorRole, "weights">>;
  /** Where there are several state dicts: how many characters of a tensor's name, with the dot, come before its name in its own one. */
  readonly prefixes: ReadonlyMap<string, number>;
  /** Numbers, strings and booleans of the outermost dict (epoch, global_step, ...), as text. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor with the keys that lead to it, outermost first. */
interface Leaf {
  readonly path: readonly string[];
  readonly tensor: TorchTensor;
}

/** A dict that holds tensors under names with dots, as `state_dict()` makes it, or a module pickled whole. */
interface StateDict {
  readonly path: readonly string[];
  /** Its own tensors, by their names in it. */
  readonly own: ReadonlyMap<string, TorchTensor>;
}

/**
 * The rule: the weights are the state dicts, which are told by their tensors' names (`conv.weight`: with dots), whatever the keys above
 * them; their names start
 * at the dict, or, if there are several, where their paths part. Of several with the same names one holds the weights, and those below a
 * key
 * such as `ema` are averaged copies. Every other tensor (`optimizer.state.3.exp_avg`) lies beside the weights under its path: keys and list
 * indices joined by dots.
 * A file without such names has only its paths, less a wrapper (`state_dict`, `model`, ...); one that is a bare tensor calls it `tensor`.
 * Modules that were pickled whole count as their state dicts. Sets, other objects, and keys other than strings, whole numbers and booleans
 * are not entered.
 * @throws FormatError for an entry with a weight's name that is not a dense tensor, two tensors of one name, nesting beyond 64 levels (or a
 * container inside
 * itself), or more than four million values.
 */
export function flattenTensors(file: string, root: PickleValue): Flattened {
  const leaves = new Walk(file).leaves(root);
  const dicts = stateDicts(leaves);
  const tensors = new Map<string, TorchTensor>();
  const roles = new Map<string, Exclude<TensorRole, "weights">>();
  const add = (name: string, tensor: TorchTensor): void => {
    if (name.length > MAX_NAME) throw new FormatError(file, `the name ${quote(name)} has more than ${MAX_NAME} characters`);
    if (tensors.has(name)) throw new FormatError(file, `two tensors are named ${quote(name)}`);
    tensors.set(name, tensor);
  };
  const roleOf = dicts.length === 0 ? undefined : sortDicts(dicts);
  const top = roleOf
    ? commonPath(dicts.filter(({ path }) => roleOf.get(keyOf(path)) === "weights").map(({ path }) => path))
    : wrapper(root, leaves);
  const prefixes = new Map<string, number>();
  const beside: (Leaf & { readonly role: Exclude<TensorRole, "weights"> })[] = [];
  for (const leaf of leaves) {
    const { path, tensor } = leaf;
    const place = roleOf
      ? placeIn(roleOf, path)
      : { role: starts(path, top) ? ("weights" as const) : ("beside" as const), depth: top.length };
    if (place.role !== "weights") {
      beside.push({ ...leaf, role: place.role });
      continue;
    }
    const name = path.length === 0 ? "tensor" : path.slice(top.length).join(".");
    add(name, tensor);
    if (place.depth > top.length) prefixes.set(name, path.slice(top.length, place.depth).join(".").length + 1);
  }
  for (const { path, tensor, role } of beside) {
    const plain = path.join(".");
    const name = tensors.has(plain) ? `(beside) ${plain}` : plain;
    add(name, tensor);
    roles.set(name, role);
  }
  return { tensors, roles, prefixes, metadata: scalars(root) };
}

function starts(path: readonly string[], top: readonly string[]): boolean {
  return top.every((key, i) => path[i] === key);
}

function keyOf(path: readonly string[]): string {
  return path.join("\0");
}

/**
 * The role and depth of the state dict that a tensor is nearest to. What a state dict holds by number is not a weight: optimizers keep
 * their states so.
 */
function placeIn(roles: ReadonlyMap<string, TensorRole>, path: readonly string[]): { readonly role: TensorRole; readonly depth: number } {
  for (let depth = path.length - 1; depth >= 0; depth--) {
    const role = roles.get(keyOf(path.slice(0, depth)));
    if (role !== undefined)
      return { role: role === "weights" && path.slice(depth).some((key) => /^\d+$/.test(key)) ? "beside" : role, depth };
  }
  return { role: "beside", depth: 0 };
}

/** Collects tensors with their paths. */
class Walk {
  private visits = 0;
  private readonly modules = new ModuleReader();

  constructor(private readonly file: string) {}

  leaves(root: PickleValue): Leaf[] {
    const out: Leaf[] = [];
    this.visit(root, [], out);
    return out;
  }

  private visit(value: PickleValue, path: readonly string[], out: Leaf[]): void {
    if (++this.visits > MAX_VISITS) throw new FormatError(this.file, `its containers hold more than ${MAX_VISITS} values when followed`);
    if (path.length > MAX_DEPTH)
      throw new FormatError(this.file, `its containers are nested more than ${MAX_DEPTH} deep, or hold themselves`);
    if (value instanceof TorchTensor) {
      out.push({ path, tensor: value });
      return;
    }
    if (value instanceof PickleDict) this.refuseOthers(value);
    for (const [key, child] of this.children(value)) this.visit(child, [...path, key], out);
  }

  private *children(value: PickleValue): Iterable<readonly [string, PickleValue]> {
    if (value instanceof PickleDict) {
      for (const [key, child] of value.items)
        if (typeof key === "string" || typeof key === "number" || typeof key === "boolean") yield [String(key), child];
    } else if (value instanceof PickleList || value instanceof PickleTuple) {
      for (let i = 0; i < value.items.length; i++) yield [String(i), value.items[i]!];
    } else if (value instanceof PickleObject) {
      yield* this.modules.tensors(this.file, value);
    }
  }

  /** Beside dense tensors, nothing else may have the name of a weight. @throws FormatError */
  private refuseOthers({ items }: PickleDict): void {
    let holdsTensors = false;
    for (const child of items.values()) if ((holdsTensors = child instanceof TorchTensor)) break;
    if (!holdsTensors) return;
    for (const [key, child] of items) {
      if (typeof key !== "string" || child instanceof TorchTensor || child instanceof PickleDict) continue;
      const named =
        /(^|\.)(weight|bias)$/.test(key) ||
        (child instanceof PickleObject &&
          key.includes(".") &&
          !key.endsWith("_extra_state") &&
          this.modules.tensors(this.file, child).length === 0);
      if (named)
        throw new FormatError(
          this.file,
          `entry ${quote(key)} is ${otherKind(child)}, not a dense tensor; it cannot be left out, so save it again as one`,
        );
    }
  }
}

/** What stands where a tensor is expected, in words. */
function otherKind(value: PickleValue): string {
  if (!(value instanceof PickleObject)) return describe(value);
  const { path } = value.type;
  if (/_rebuild_sparse_/.test(path)) return "a sparse tensor";
  if (/_rebuild_qtensor/.test(path)) return "a quantized tensor";
  if (/_rebuild_meta_tensor/.test(path)) return "a tensor without data (meta device)";
  if (path.startsWith("numpy.")) return "a NumPy array";
  return describe(value);
}

/** For each path above names with dots: the tensors there. */
function stateDicts(leaves: readonly Leaf[]): StateDict[] {
  const byPath = new Map<string, { path: readonly string[]; own: Map<string, TorchTensor>; dotted: boolean }>();
  for (const { path, tensor } of leaves) {
    const name = path.at(-1);
    if (name === undefined) continue;
    const above = path.slice(0, -1);
    const dict = byPath.get(keyOf(above)) ?? { path: above, own: new Map<string, TorchTensor>(), dotted: false };
    byPath.set(keyOf(above), dict);
    dict.own.set(name, tensor);
    dict.dotted ||= name.includes(".");
  }
  return [...byPath.values()].filter(({ dotted }) => dotted);
}

/** By path, which state dicts hold the weights, which an averaged copy of them, and which something else. */
function sortDicts(dicts: readonly StateDict[]): Map<string, TensorRole> {
  const roles = new Map<string, TensorRole>(dicts.map(({ path }) => [keyOf(path), "beside"]));
  const set = (dict: StateDict, role: TensorRole): void => void roles.set(keyOf(dict.path), role);
  const copyOf = (dict: StateDict, others: readonly StateDict[]): boolean =>
    others.length <= MAX_COPIES && others.some((other) => other !== dict && isCopy(dict, other));
  const average = ({ path }: StateDict): boolean => path.some((key) => AVERAGED.test(key));
  const plain = dicts.filter((dict) => !average(dict));
  const averaged = dicts.filter((dict) => average(dict) && copyOf(dict, plain));
  for (const dict of averaged) set(dict, "averaged");
  const rest = dicts.filter((dict) => !averaged.includes(dict));
  // Of copies that no such key tells apart, the one below a training tool's usual key.
  const usual = rest.filter(({ path }) => WRAPPERS.includes(path.at(-1) ?? ""));
  for (const dict of rest) if (usual.includes(dict) || !copyOf(dict, usual)) set(dict, "weights");
  return roles;
}

/** Whether all names of one state dict are another's too. */
function isCopy(dict: StateDict, other: StateDict): boolean {
  const bare = (name: string): string => name.replace(/^((module|_orig_mod|model)\.)+/, "");
  const names = new Set([...other.own.keys()].map(bare));
  return [...dict.own.keys()].every((name) => names.has(bare(name)) || !name.includes("."));
}

/** The keys that all paths begin with, as far as these are wrappers: one with dots is a module's and part of the names below it. */
function commonPath(paths: readonly (readonly string[])[]): readonly string[] {
  const [first = [], ...others] = paths;
  let length = 0;
  while (length < first.length && !first[length]!.includes(".") && others.every((path) => path[length] === first[length])) length++;
  return first.slice(0, length);
}

/** The wrapper keys of a file whose tensors have names without dots. */
function wrapper(root: PickleValue, leaves: readonly Leaf[]): readonly string[] {
  const path: string[] = [];
  for (let value = root; value instanceof PickleDict && path.length < MAX_DEPTH;) {
    const { items } = value;
    if ([...items.values()].some((child) => child instanceof TorchTensor)) break;
    const key = WRAPPERS.find((name) => items.get(name) instanceof PickleDict && leaves.some((leaf) => starts(leaf.path, [...path, name])));
    if (key === undefined) break;
    path.push(key);
    value = items.get(key)!;
  }
  return path;
}

function scalars(root: PickleValue): Record<string, string> {
  if (!(root instanceof PickleDict)) return {};
  const rows: [string, string][] = [];
  for (const [key, value] of root.items) {
    const plain = typeof value === "string" || typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
    if (typeof key === "string" && plain) rows.push([key, String(value).slice(0, MAX_NAME)]);
  }
  return Object.fromEntries(rows);
}
