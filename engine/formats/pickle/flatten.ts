/** From a checkpoint's nested containers to a flat list of named tensors. */
import { FormatError, quote } from "../errors.ts";
import { PickleDict, PickleList, PickleTuple, type PickleValue } from "./values.ts";
import { TorchTensor } from "./torch-values.ts";

/** Keys under which training tools put the weights, in the order tried. */
const WRAPPERS = ["state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params"];

const MAX_DEPTH = 64;
const MAX_VISITS = 4_000_000;
const MAX_NAME = 4096;

export interface Flattened {
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  /** Numbers, strings and booleans of the outermost dict (epoch, global_step, ...), as text. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * The rule: a tensor's name is its path of dict keys and list indices, joined by dots (`optimizer_states.0.state.3.exp_avg`); a file
 * that is one bare tensor calls it `tensor`.
 * The weights themselves drop their wrapper: while a dict holds no tensor of its own but one of `state_dict`, `model_state_dict`,
 * `model`, `module`, `net`, `network`, `weights`, `params` (the first that is a dict with a tensor in it), names below that key start there.
 * Sets, inert objects, and keys other than strings, whole numbers and booleans are not entered.
 * @throws FormatError for two tensors of one name, nesting beyond 64 levels (or a container inside itself), or more than four million values.
 */
export function flattenTensors(file: string, root: PickleValue): Flattened {
  const tensors = new Map<string, TorchTensor>();
  const budget = { left: MAX_VISITS }; // for looking ahead, over all levels
  let visits = 0;
  const visit = (value: PickleValue, path: string, depth: number, weights: boolean): void => {
    if (++visits > MAX_VISITS) throw new FormatError(file, `its containers hold more than ${MAX_VISITS} values when followed`);
    if (depth > MAX_DEPTH) throw new FormatError(file, `its containers are nested more than ${MAX_DEPTH} deep, or hold themselves`);
    if (value instanceof TorchTensor) {
      const name = depth === 0 ? "tensor" : path;
      if (tensors.has(name)) throw new FormatError(file, `two tensors are named ${quote(name)}`);
      tensors.set(name, value);
      return;
    }
    const wrapper = weights ? wrapperOf(value, budget) : undefined;
    for (const [key, child] of children(value)) {
      const unwrapped = key === wrapper;
      const name = unwrapped || path === "" ? (unwrapped ? "" : key) : `${path}.${key}`;
      if (name.length > MAX_NAME) throw new FormatError(file, `the name ${quote(name)} has more than ${MAX_NAME} characters`);
      visit(child, name, depth + 1, unwrapped);
    }
  };
  visit(root, "", 0, true);
  return { tensors, metadata: scalars(root) };
}

function* children(value: PickleValue): Iterable<readonly [string, PickleValue]> {
  if (value instanceof PickleDict) {
    for (const [key, child] of value.items) if (typeof key === "string" || typeof key === "number" || typeof key === "boolean") yield [String(key), child];
  } else if (value instanceof PickleList || value instanceof PickleTuple) {
    for (let i = 0; i < value.items.length; i++) yield [String(i), value.items[i]!];
  }
}

/** The wrapper key of a dict that only wraps the weights. */
function wrapperOf(value: PickleValue, budget: { left: number }): string | undefined {
  if (!(value instanceof PickleDict)) return undefined;
  for (const child of value.items.values()) if (child instanceof TorchTensor) return undefined;
  return WRAPPERS.find((key) => {
    const child = value.items.get(key);
    return child instanceof PickleDict && holdsTensor(child, budget, 0);
  });
}

function holdsTensor(value: PickleValue, budget: { left: number }, depth: number): boolean {
  if (value instanceof TorchTensor) return true;
  if (depth > MAX_DEPTH || --budget.left < 0) return false;
  for (const [, child] of children(value)) if (holdsTensor(child, budget, depth + 1)) return true;
  return false;
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
