import type { TensorType } from "../../kernels/kernel.ts";
import type { HostWeights, Tensor } from "../runtime/tensor.ts";

/** Where the tensors of parameter leaves come from. */
export interface LeafStore {
  /** For errors: the prefix of its leaves' names. */
  readonly component: string;
  owns(leaf: string): boolean;
  /** Bytes of these leaves that are not on the device yet; those of others do not count. */
  missingBytes(leaves: Iterable<string>): number;
  /** Puts those of these leaves on the device that are its own and not there yet. */
  load(leaves: Iterable<string>): Promise<void>;
  /** @throws Error if it was not loaded */
  tensor(leaf: string, type: TensorType): Tensor;
  /** Whether a leaf stays in host memory, to be sent to the device for each use. Default: none does. */
  streams?(leaf: string): boolean;
  /** The numbers of such a leaf, once it is loaded. */
  streamed?(leaf: string): HostWeights | undefined;
  destroy(): void;
}

/** Finds each parameter leaf's tensor among several stores. */
export function lookup(...stores: readonly LeafStore[]): (name: string, type: TensorType) => Tensor {
  return (name, type) => {
    const owner = stores.find((p) => p.owns(name));
    if (!owner) throw new Error(`parameter "${name}" belongs to none of ${stores.map((p) => p.component).join(", ")}`);
    return owner.tensor(name, type);
  };
}
