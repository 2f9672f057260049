import { type TensorType, type Value, byteLength, formatType } from "../../kernels/kernel.ts";
import type { LeafStore } from "../nn/leaf-store.ts";
import type { Parameters, WeightSource } from "../nn/parameters.ts";
import type { Device } from "../runtime/device.ts";
import type { Graph } from "../runtime/graph.ts";
import { Tensor } from "../runtime/tensor.ts";

/** What training keeps of a weight besides the weight itself. */
export const STATE_KINDS = ["m", "v", "sum", "master", "average", "mask"] as const;
/**
 * m, v: Adam's moments, zero at the start. sum: of gradients over batches; what it holds at the start is never read. master: float32
 * numbers of a weight that the model reads as halves. average: a running average of the weight, which it begins as. mask: what the
 * gradient is multiplied by.
 */
export type StateKind = (typeof STATE_KINDS)[number];

interface Declared {
  readonly type: TensorType;
  /** The weight in whose layout the numbers of `source` are to lie; without it, zeros. */
  readonly of?: { readonly owner: Parameters; readonly leaf: string; readonly source?: WeightSource | undefined };
}

/** Numbers to begin with instead of the usual ones: those of a training that is resumed, or a mask. */
export type StartOf = (kind: StateKind, component: string) => WeightSource | undefined;

const PREFIX = "train:";
const MAX_PENDING_BYTES = 256 * 2 ** 20;

/**
 * The states of an optimiser as leaves of a graph: declared when a step is recorded, so that it can be planned first, and made when its
 * program is.
 */
export class TrainingState implements LeafStore {
  readonly component = "train";
  private readonly declared = new Map<string, Declared>();
  private readonly tensors = new Map<string, Tensor>();

  constructor(private readonly device: Device, private readonly start: StartOf = () => undefined) {}

  /** A leaf of the training as a whole, zero at the start. */
  ofAll(g: Graph, name: string, type: TensorType): Value {
    return this.declare(g, PREFIX + name, { type });
  }

  /** The leaf of a state that begins as zeros, unless `start` knows better. @param weight name of the weight's leaf */
  zeros(g: Graph, kind: StateKind, weight: string, type: TensorType, owner: Parameters): Value {
    const source = this.start(kind, owner.component);
    return this.declare(g, nameOf(kind, weight), { type, ...(source && { of: { owner, leaf: weight, source } }) });
  }

  /** The leaf of a state that begins as the weight's exact numbers, unless `start` knows better. */
  copyOf(g: Graph, kind: StateKind, weight: string, type: TensorType, owner: Parameters): Value {
    return this.declare(g, nameOf(kind, weight), { type, of: { owner, leaf: weight, source: this.start(kind, owner.component) } });
  }

  private declare(g: Graph, name: string, declared: Declared): Value {
    this.declared.set(name, declared);
    return g.parameter(name, declared.type);
  }

  owns(leaf: string): boolean {
    return leaf.startsWith(PREFIX);
  }

  missingBytes(leaves: Iterable<string>): number {
    let bytes = 0;
    for (const leaf of leaves) if (!this.tensors.has(leaf)) bytes += this.bytesOf(leaf);
    return bytes;
  }

  private bytesOf(leaf: string): number {
    const declared = this.declared.get(leaf);
    return declared ? byteLength(declared.type) : 0;
  }

  /** @throws InputError, FormatError, GpuError */
  async load(leaves: Iterable<string>): Promise<void> {
    let pending = 0;
    for (const leaf of leaves) {
      const declared = this.declared.get(leaf);
      if (!declared || this.tensors.has(leaf)) continue;
      const data = await declared.of?.owner.exact(declared.of.leaf, declared.of.source);
      const tensor = new Tensor(this.device, leaf, declared.type); // zero, as WebGPU's buffers are
      this.tensors.set(leaf, tensor);
      if (!data) continue;
      tensor.write(data);
      if ((pending += tensor.buffer.size) > MAX_PENDING_BYTES) {
        await this.device.settle();
        pending = 0;
      }
    }
    this.device.check();
  }

  tensor(leaf: string, type: TensorType): Tensor {
    const tensor = this.tensors.get(leaf);
    if (!tensor) throw new Error(`training state "${leaf}" ${formatType(type)} has not been made`);
    return tensor;
  }

  /** The state of a weight, if there is one. */
  of(kind: StateKind, weight: string): Tensor | undefined {
    return this.tensors.get(nameOf(kind, weight));
  }

  /** A state of the training as a whole, if it has been made. */
  all(name: string): Tensor | undefined {
    return this.tensors.get(PREFIX + name);
  }

  destroy(): void {
    for (const tensor of this.tensors.values()) tensor.destroy();
    this.tensors.clear();
  }
}

function nameOf(kind: StateKind, weight: string): string {
  return `${PREFIX}${kind} ${weight}`;
}
