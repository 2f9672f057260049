import { type Layout, type Shape, type TensorType, type Value, byteLength, elementCount, formatType } from "../../kernels/kernel.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import type { Graph } from "../runtime/graph.ts";
import { type HostWeights, Tensor } from "../runtime/tensor.ts";
import type { NDArray } from "./array.ts";
import { type Leaf, type LeafSource, firstRow, leafInCheckpointOrder, readLeaf } from "./leaf-numbers.ts";
import type { LeafStore } from "./leaf-store.ts";
import { type WeightLayout, type WeightPrecision, rowByRow, weightType } from "./weight-layout.ts";

/** Where a component's weights come from: names and shapes at once, numbers on demand. */
export interface WeightSource extends LeafSource {
  /** For errors: the file. */
  readonly name: string;
  /**
   * Shape as the checkpoint stores it (linear [out, in], convolution OIHW); undefined if there is no such tensor.
   * @param expected what the configuration says, for a source that makes its tensors up
   */
  shape(tensor: string, expected?: Shape): Shape | undefined;
  names(): Iterable<string>;
  /** Closes the files below; nothing can be read afterwards. */
  close?(): Promise<void>;
}

const MAX_PENDING_BYTES = 256 * 2 ** 20;

/**
 * The weights of one component (text encoder, UNet...) on a device: each is uploaded once, in the layout its op reads,
 * when the first program that needs it is made.
 */
export class Parameters implements LeafStore {
  private readonly requested = new Map<string, Leaf>();
  private readonly tensors = new Map<string, Tensor>();
  private readonly onHost = new Map<string, HostWeights>();
  private keeps: ((leaf: string, bytes: number) => boolean) | undefined;
  /** Of the leaves' names, so that several models can share one graph. */
  protected readonly prefix: string;

  constructor(
    readonly component: string,
    readonly device: Device,
    readonly source: WeightSource,
    readonly precision: WeightPrecision = "f32",
    prefix: string = component,
  ) {
    this.prefix = `${prefix}:`;
  }

  /** Which leaves, by name and bytes, are kept on the device when they are loaded; the others stay in host memory. Default: all. */
  keepOnDevice(keeps: (leaf: string, bytes: number) => boolean): void {
    this.keeps = keeps;
  }

  /** Whether two linear weights may lie in one leaf. */
  together(_a: string, _b: string): boolean {
    return true;
  }

  /** The largest tensor that the device binds. */
  get maxTensorBytes(): number {
    return this.device.capabilities.maxStorageBufferBindingSize;
  }

  /** Whether the checkpoint has a tensor of this name. */
  has(tensor: string): boolean {
    return this.source.shape(tensor) !== undefined;
  }

  /** The stored shape of a tensor. @throws InputError naming file and tensor if it is missing. */
  storedShape(tensor: string, expected?: Shape): Shape {
    const shape = this.source.shape(tensor, expected);
    if (shape) return shape;
    const leaf = tensor.split(".").slice(0, -1).join(".");
    const near = [...this.source.names()].filter((n) => n.startsWith(leaf) || n.endsWith(tensor)).slice(0, 4);
    throw new InputError(`${this.source.name}: no tensor "${tensor}"${near.length > 0 ? `; there is ${near.join(", ")}` : ""}`);
  }

  /**
   * The leaf of a weight. `expected` is the shape by the configuration, in the checkpoint's order; a trailing 1x1 kernel is the same as a
   * linear weight.
   * @throws InputError if the tensor is missing or the configuration disagrees with it.
   */
  value(g: Graph, tensor: string, layout: WeightLayout, expected: Shape): Value {
    this.check(tensor, layout, expected);
    return this.leaf(g, tensor, { tensors: [tensor], layout, type: this.typeOf(layout, expected) });
  }

  /**
   * The leaf of several linear weights [out, in] as one, their outputs side by side, or ("plain") of their biases [out].
   * @throws InputError as `value`
   */
  joined(g: Graph, parts: readonly (readonly [tensor: string, expected: Shape])[], layout: "linear" | "plain"): Value {
    for (const [tensor, expected] of parts) this.check(tensor, layout, expected);
    const whole = [parts.reduce((n, [, shape]) => n + shape[0]!, 0), ...parts[0]![1].slice(1)];
    const tensors = parts.map(([tensor]) => tensor);
    return this.leaf(
      g,
      tensors.length === 1 ? tensors[0]! : `${tensors[0]} to ${tensors.at(-1)} (${tensors.length})`,
      { tensors, layout, type: this.typeOf(layout, whole) },
    );
  }

  /**
   * The leaf of a linear weight [2 n, in] or ("plain") its bias [2 n], n values and then their n gates, in the order that matmulGeglu
   * takes.
   * @throws InputError as `value`
   */
  gated(g: Graph, tensor: string, layout: "linear" | "plain", expected: Shape): Value {
    this.check(tensor, layout, expected);
    return this.leaf(g, `${tensor} (gated)`, { tensors: [tensor], layout, type: this.typeOf(layout, expected), rows: "gated" });
  }

  private check(tensor: string, layout: WeightLayout, expected: Shape): void {
    const stored = this.storedShape(tensor, expected);
    const pointwise = (shape: Shape): boolean => layout === "linear" && shape.length === 4 && shape[2] === 1 && shape[3] === 1;
    const plain = (shape: Shape): string => (pointwise(shape) ? shape.slice(0, 2) : shape).join(",");
    if (plain(stored) !== plain(expected)) {
      const shapes = `has shape [${stored.join(",")}], its config.json says [${expected.join(",")}]`;
      throw new InputError(`${this.source.name}: tensor "${tensor}" ${shapes}`);
    }
  }

  private typeOf(layout: WeightLayout, expected: Shape): TensorType {
    const [out, inner, ...kernel] = expected;
    const shape = layout === "plain" ? expected : [...(layout === "conv" ? kernel : []), inner!, out!];
    return weightType(shape, layout, this.precision);
  }

  /** A leaf by what its name has behind the component's. */
  leaf(g: Graph, called: string, leaf: Leaf): Value {
    const name = this.prefix + called;
    this.requested.set(name, leaf);
    return g.parameter(name, leaf.type);
  }

  /**
   * A table [rows, columns] as stored, in blocks of rows where as one tensor it would be larger than the device binds
   * (CLIP's token table has 145 MiB, many devices bind 128). @throws InputError as `value`
   */
  table(g: Graph, tensor: string, expected: readonly [number, number]): readonly [Value, ...Value[]] {
    const [rows, columns] = expected;
    const fitting = Math.floor(this.maxTensorBytes / (columns * 4));
    const rowsPerBlock = fitting < 4 ? fitting : fitting - (fitting % 4); // products with blocks of whole vec4s take two thirds of the time
    if (rows <= fitting) return [this.value(g, tensor, "plain", expected)];
    this.check(tensor, "plain", expected);
    const blocks: Value[] = [];
    for (let from = 0; from < rows; from += rowsPerBlock) {
      const type: TensorType = { shape: [Math.min(rowsPerBlock, rows - from), columns], dtype: "f32" };
      blocks.push(this.leaf(g, `${tensor}[${from}]`, { tensors: [tensor], layout: "plain", type, rows: { from } }));
    }
    return blocks as [Value, ...Value[]];
  }

  /** Bytes of these leaves that are not on the device yet; leaves of other components do not count. */
  missingBytes(leaves: Iterable<string>): number {
    let bytes = 0;
    for (const name of leaves) {
      const asked = this.requested.get(name);
      if (asked && !this.tensors.has(name) && !this.streams(name)) bytes += byteLength(asked.type);
    }
    return bytes;
  }

  streams(name: string): boolean {
    const asked = this.requested.get(name);
    if (!asked || this.tensors.has(name)) return false;
    return this.onHost.has(name) || this.keeps?.(name, byteLength(asked.type)) === false;
  }

  streamed(name: string): HostWeights | undefined {
    return this.onHost.get(name);
  }

  /**
   * Uploads what is not on the device yet, one tensor at a time, or reads it into host memory if it stays there: these leaves (those of
   * other components are passed over), or all that were ever asked for.
   * @throws InputError, FormatError, GpuError
   */
  async load(leaves: Iterable<string> = this.requested.keys(), onProgress?: (loadedBytes: number) => void): Promise<void> {
    let bytes = 0;
    let pending = 0;
    for (const name of leaves) {
      const asked = this.requested.get(name);
      if (!asked || this.tensors.has(name) || this.onHost.has(name)) continue;
      const data = await this.read(asked);
      if (this.streams(name)) {
        this.onHost.set(name, { data });
        onProgress?.((bytes += byteLength(asked.type)));
        continue;
      }
      const onDevice = new Tensor(this.device, name, asked.type);
      this.tensors.set(name, onDevice);
      onDevice.write(data);
      onProgress?.((bytes += onDevice.buffer.size));
      // Queued writes hold a copy on the host until the device has taken them.
      if ((pending += onDevice.buffer.size) > MAX_PENDING_BYTES) {
        await this.device.settle();
        pending = 0;
      }
    }
    this.device.check();
  }

  /** Reads these tensors again, of a source whose numbers have changed, into the leaves on the device that hold them. @throws as `load` */
  async reload(tensors: ReadonlySet<string>): Promise<void> {
    for (const [name, onDevice] of this.tensors) {
      const asked = this.asked(name);
      if (asked.tensors.some((tensor) => tensors.has(tensor))) onDevice.write(await this.read(asked));
    }
    for (const [name, held] of this.onHost) {
      const asked = this.asked(name);
      if (asked.tensors.some((tensor) => tensors.has(tensor))) held.data = await this.read(asked);
    }
    await this.device.settle();
  }

  private read(leaf: Leaf, source: LeafSource = this.source): Promise<Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>> {
    return readLeaf(leaf, leaf.tensors.map((tensor) => this.storedShape(tensor)), source);
  }

  /** The device tensor of a leaf. @throws Error if it was not loaded. */
  tensor(name: string, type: TensorType): Tensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`parameter "${name}" ${formatType(type)} has not been loaded`);
    return tensor;
  }

  /**
   * A leaf's numbers as the device orders them, in float32 whatever its precision there.
   * @param source of the numbers: of something else that the weight has, such as its moments
   * @throws InputError, FormatError; Error for a leaf that was never asked for
   */
  exact(name: string, source = this.source): Promise<Float32Array<ArrayBuffer>> {
    const asked = this.asked(name);
    return this.read({ ...asked, type: { ...asked.type, dtype: "f32" } }, source) as Promise<Float32Array<ArrayBuffer>>;
  }

  /**
   * Puts a leaf's numbers, ordered as on the device, into the checkpoint's tensors by name.
   * @param layout in which they lie, where that differs from the leaf's: sums of gradients are never in panels
   * @throws Error for a leaf that was never asked for
   */
  intoCheckpoint(name: string, data: Float32Array<ArrayBuffer>, tensors: Map<string, NDArray>, layout?: Layout): void {
    const asked = this.asked(name);
    const { type } = asked;
    const rows = (layout ?? type.layout) === "panels" ? rowByRow(data, type.shape) : data;
    const from = firstRow(asked);
    for (const [tensor, part] of this.inCheckpointOrder(name, rows)) {
      const shape = this.storedShape(tensor);
      if (from === undefined) {
        tensors.set(tensor, { data: part, shape: [...shape] });
        continue;
      }
      const whole = tensors.get(tensor) ?? { data: new Float32Array(elementCount(shape)), shape: [...shape] };
      whole.data.set(part, from * shape[1]!);
      tensors.set(tensor, whole);
    }
  }

  /** The checkpoint's tensors that a leaf is made of. @throws Error for a leaf that was never asked for */
  tensorsOf(name: string): readonly string[] {
    return this.asked(name).tensors;
  }

  private asked(name: string): Leaf {
    const leaf = this.requested.get(name);
    if (!leaf) throw new Error(`parameter "${name}" was never asked for`);
    return leaf;
  }

  /**
   * A leaf's gradient (of its shape, without panels) by the checkpoint's tensors and in their order: linear [out, in], convolution OIHW; of
   * a table's block its rows.
   * @throws Error for a leaf that was never asked for.
   */
  inCheckpointOrder(name: string, data: Float32Array<ArrayBuffer>): Map<string, Float32Array<ArrayBuffer>> {
    const asked = this.asked(name);
    return leafInCheckpointOrder(asked, data, asked.tensors.map((tensor) => this.storedShape(tensor)));
  }

  owns(name: string): boolean {
    return name.startsWith(this.prefix);
  }

  /** Frees what is on the device. */
  protected free(): void {
    for (const tensor of this.tensors.values()) tensor.destroy();
    this.tensors.clear();
    this.onHost.clear();
  }

  destroy(): void {
    this.free();
    void this.source.close?.();
  }
}
