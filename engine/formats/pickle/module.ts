/** PyTorch modules that were pickled whole (`torch.save(model)`), as far as their tensors go. */
import { FormatError } from "../errors.ts";
import { PickleDict, PickleObject, PickleSet, type PickleValue } from "./values.ts";
import { TorchTensor } from "./torch-values.ts";

const MAX_DEPTH = 64;
/** Bounds what is visited, all modules of a file together. */
const MAX_VISITS = 1_000_000;

/** Reads the modules of one file. */
export class ModuleReader {
  private visits = 0;
  private readonly read = new Map<PickleObject, readonly (readonly [string, TorchTensor])[]>();

  /**
   * The tensors of a pickled `torch.nn.Module`, of whatever class, under the names that its `state_dict()` gives them; none for any other
   * object.
   * Source: torch/nn/modules/module.py, `_save_to_state_dict`: parameters, persistent buffers, then the modules below.
   * @throws FormatError for modules nested beyond 64 levels, or inside themselves
   */
  tensors(file: string, object: PickleObject): readonly (readonly [string, TorchTensor])[] {
    const known = this.read.get(object);
    if (known) return known;
    const out: (readonly [string, TorchTensor])[] = [];
    this.collect(file, object, "", 0, out);
    this.read.set(object, out);
    return out;
  }

  private collect(file: string, module: PickleObject, prefix: string, depth: number, out: (readonly [string, TorchTensor])[]): void {
    if (depth > MAX_DEPTH || ++this.visits > MAX_VISITS)
      throw new FormatError(file, `its modules are nested more than ${MAX_DEPTH} deep, or hold themselves`);
    const passing = field(module, "_non_persistent_buffers_set");
    const skipped = passing instanceof PickleSet ? passing.items : new Set<PickleValue>();
    for (const kind of ["_parameters", "_buffers"]) {
      for (const [name, value] of items(module, kind))
        if (value instanceof TorchTensor && !(kind === "_buffers" && skipped.has(name))) out.push([`${prefix}${name}`, value]);
    }
    for (const [name, value] of items(module, "_modules"))
      if (value instanceof PickleObject) this.collect(file, value, `${prefix}${name}.`, depth + 1, out);
  }
}

function field({ state }: PickleObject, name: string): PickleValue | undefined {
  return state instanceof PickleDict ? state.items.get(name) : undefined;
}

function* items(module: PickleObject, kind: string): Iterable<readonly [string, PickleValue]> {
  const dict = field(module, kind);
  if (dict instanceof PickleDict) for (const [name, value] of dict.items) if (typeof name === "string") yield [name, value];
}
