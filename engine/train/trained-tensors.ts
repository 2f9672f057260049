import type { NDArray } from "../nn/array.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { StateKind, TrainingState } from "./state.ts";
import type { Trained } from "./update.ts";

/** A tensor that is read when it is asked for. */
export interface LazyTensor {
  /** `unet` or `text_encoder` ... */
  readonly component: string;
  /** The checkpoint's. */
  readonly name: string;
  readonly shape: readonly number[];
  /** In the checkpoint's order, as it is now. */
  read(): Promise<Float32Array<ArrayBuffer>>;
}

/**
 * What training has of its weights, of one kind, by the checkpoint's tensors: read one by one, since all of a large model together are
 * more than a host should hold.
 */
export class TrainedTensors {
  /** The last leaf that was read: several tensors may lie in one. */
  private last: { readonly leaf: string; readonly tensors: Map<string, NDArray> } | undefined;

  /** @param kind "weight": of halves their float32 masters */
  constructor(
    private readonly trained: readonly Trained[],
    private readonly state: TrainingState,
    private readonly kind: "weight" | StateKind,
  ) {}

  list(): LazyTensor[] {
    const leaves = new Map<string, Trained[]>();
    for (const one of this.trained) {
      if (this.kind !== "weight" && !this.state.of(this.kind, one.leaf.name)) continue;
      for (const tensor of one.owner.tensorsOf(one.leaf.name)) {
        const key = `${one.owner.component} ${tensor}`;
        leaves.set(key, [...(leaves.get(key) ?? []), one]);
      }
    }
    return [...leaves].map(([key, of]) => {
      const [component, name] = key.split(" ") as [string, string];
      return { component, name, shape: of[0]!.owner.storedShape(name), read: () => this.read(name, of) };
    });
  }

  /** @throws Error for a kind that is not kept */
  async readAll(): Promise<Map<string, Map<string, NDArray>>> {
    const components = new Map<string, Map<string, NDArray>>();
    for (const { component, name, shape, read } of this.list()) {
      const tensors = components.get(component) ?? new Map<string, NDArray>();
      components.set(component, tensors);
      tensors.set(name, { data: await read(), shape: [...shape] });
    }
    if (components.size === 0) throw new Error(`no ${this.kind} of what is trained is kept`);
    return components;
  }

  private async read(name: string, of: readonly Trained[]): Promise<Float32Array<ArrayBuffer>> {
    const [only, ...more] = of as readonly [Trained, ...Trained[]];
    if (more.length === 0 && this.last?.leaf === only.leaf.name) return this.last.tensors.get(name)!.data;
    const tensors = new Map<string, NDArray>();
    for (const { leaf, owner } of of) {
      const tensor = this.tensorOf({ leaf, owner });
      owner.intoCheckpoint(leaf.name, (await tensor.read()) as Float32Array<ArrayBuffer>, tensors, tensor.type.layout ?? "rows");
    }
    this.last = more.length === 0 ? { leaf: only.leaf.name, tensors } : undefined;
    return tensors.get(name)!.data;
  }

  private tensorOf({ leaf, owner }: Trained): Tensor {
    if (this.kind !== "weight") return this.state.of(this.kind, leaf.name)!;
    return this.state.of("master", leaf.name) ?? owner.tensor(leaf.name, leaf.type);
  }
}
