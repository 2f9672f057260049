import type { Layout, TensorType, Value } from "../../kernels/kernel.ts";
import type { Graph } from "../runtime/graph.ts";
import type { HostWeights, Tensor } from "../runtime/tensor.ts";
import type { NDArray } from "./array.ts";
import type { Leaf } from "./leaf-numbers.ts";
import { Parameters, type WeightSource } from "./parameters.ts";

/** Leaf names of a variant are those of its base with this behind the component's name. */
const MARK = "*";

/**
 * A component's weights with some of its own: those have memory of their own, all others are the base's, on the device too. So a model
 * that is trained and the model as it was are together only as large as what is trained.
 */
export class ParametersVariant extends Parameters {
  private readonly marked: string;

  /**
   * @param own which tensors, by the checkpoint's names
   * @param source of the own ones' numbers; default: the base's
   * @param apart linear weights that are multiplied by themselves, so that others can read the products
   */
  constructor(
    private readonly base: Parameters,
    private readonly own: (tensor: string) => boolean,
    source: WeightSource = base.source,
    private readonly apart: (tensor: string) => boolean = () => false,
  ) {
    const marked = base instanceof ParametersVariant ? base.marked + MARK : base.component + MARK;
    super(base.component, base.device, source, base.precision, marked);
    this.marked = marked;
  }

  /** Of the base's leaves: its own stay on the device, where they are trained. */
  override keepOnDevice(keeps: (leaf: string, bytes: number) => boolean): void {
    this.base.keepOnDevice(keeps);
  }

  override together(a: string, b: string): boolean {
    return this.own(a) === this.own(b) && !this.apart(a) && !this.apart(b) && this.base.together(a, b);
  }

  override leaf(g: Graph, called: string, leaf: Leaf): Value {
    return leaf.tensors.some(this.own) || leaf.tensors.some(this.apart) ? super.leaf(g, called, leaf) : this.base.leaf(g, called, leaf);
  }

  override owns(name: string): boolean {
    return super.owns(name) || this.base.owns(name);
  }

  override missingBytes(leaves: Iterable<string>): number {
    const all = [...leaves];
    return super.missingBytes(all) + this.base.missingBytes(all);
  }

  override streams(name: string): boolean {
    return super.owns(name) ? super.streams(name) : this.base.streams(name);
  }

  override streamed(name: string): HostWeights | undefined {
    return super.owns(name) ? super.streamed(name) : this.base.streamed(name);
  }

  override async load(leaves?: Iterable<string>, onProgress?: (loadedBytes: number) => void): Promise<void> {
    const all = leaves && [...leaves];
    await this.base.load(all, onProgress);
    await super.load(all, onProgress);
  }

  override async reload(tensors: ReadonlySet<string>): Promise<void> {
    await this.base.reload(tensors);
    await super.reload(tensors);
  }

  override tensor(name: string, type: TensorType): Tensor {
    return super.owns(name) ? super.tensor(name, type) : this.base.tensor(name, type);
  }

  override exact(name: string, source?: WeightSource): Promise<Float32Array<ArrayBuffer>> {
    return super.owns(name) ? super.exact(name, source) : this.base.exact(name, source);
  }

  override intoCheckpoint(name: string, data: Float32Array<ArrayBuffer>, tensors: Map<string, NDArray>, layout?: Layout): void {
    if (super.owns(name)) super.intoCheckpoint(name, data, tensors, layout);
    else this.base.intoCheckpoint(name, data, tensors, layout);
  }

  override tensorsOf(name: string): readonly string[] {
    return super.owns(name) ? super.tensorsOf(name) : this.base.tensorsOf(name);
  }

  override inCheckpointOrder(name: string, data: Float32Array<ArrayBuffer>): Map<string, Float32Array<ArrayBuffer>> {
    return super.owns(name) ? super.inCheckpointOrder(name, data) : this.base.inCheckpointOrder(name, data);
  }

  /** Frees its own; the base's stay, and so does the file. */
  override destroy(): void {
    this.free();
  }
}
