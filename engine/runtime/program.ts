import { type Cost, type TensorType, type Value, byteLength, formatType } from "../../kernels/kernel.ts";
import type { Assign } from "./plan/assigns.ts";
import type { Device } from "./device.ts";
import { type Graph, type GraphNode, type GraphValue, asGraphValue } from "./graph.ts";
import { type BoundDispatch, bindDispatches } from "./plan/bind-groups.ts";
import { planMemory } from "./plan/memory-plan.ts";
import { DispatchTimes } from "./pacing.ts";
import type { Profile } from "./profile/profile.ts";
import { profilerOf } from "./profile/profiler.ts";
import { type Schedule, type Step, checkBindings, costOf, makeSchedule } from "./plan/schedule.ts";
import { BufferUsage } from "./buffer-usage.ts";
import type { StreamPlan, planStreams } from "./plan/streaming.ts";
import { type BufferPart, type HostWeights, Tensor, decodeBytes, finishRead, readBuffers, startRead, writeBuffer } from "./tensor.ts";

export type HostArray = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

export interface ProgramOptions {
  /** What can be read after a run, by name. */
  readonly outputs: Readonly<Record<string, Value>>;
  /**
   * What tensors hold after a run: how state is carried from run to run. Computed in their memory, or copied there at the end: see
   * `placeAssigns`.
   */
  readonly assigns?: readonly Assign[];
  /** The tensor of each parameter leaf. Needed if the graph has any. */
  readonly parameters?: (name: string, type: TensorType) => Tensor;
  /** Parameter leaves that stay in host memory, by name, and `planStreams`, which those who stream none need not load. */
  readonly streaming?: { readonly weights: (name: string) => HostWeights | undefined; readonly plan: typeof planStreams } | undefined;
  /** Fill every intermediate buffer with NaN before each run, so that an element no shader writes shows. For tests. */
  readonly poison?: boolean;
  readonly label?: string;
}

export interface RunOptions {
  /** Where the run is measured. Default: as the device's profiler says. */
  readonly profile?: Profile | undefined;
  /** Stops the run before its next command buffer; what it assigns to is then unusable. */
  readonly signal?: AbortSignal | undefined;
}

/** An op's cost shared out over so many dispatches. */
function shared({ flops, bytes }: Cost, dispatches: number): Cost {
  return { flops: flops / dispatches, bytes: bytes / dispatches };
}

interface Copy {
  readonly from: GPUBuffer;
  readonly to: GPUBuffer;
  readonly bytes: number;
}

/**
 * A graph made ready for a device: pipelines compiled, memory planned and allocated, bind groups made once.
 * A run is a few command buffers: see Pacer.
 */
export class Program {
  private readonly owned: GPUBuffer[] = [];
  private readonly inputs = new Map<string, { type: TensorType; buffer: GPUBuffer }>();
  private readonly outputs: ReadonlyMap<string, GraphValue>;
  /** The memory of each value that has any, by `storage`. */
  private readonly memory = new Map<GraphValue, GPUBufferBinding>();
  /** What intermediates share. */
  private shared: GPUBuffer[] = [];
  /** By step. */
  private scratch: GPUBufferBinding[][] = [];
  private dispatches: readonly BoundDispatch[] = [];
  /** How weights come to it that are not on the device, and where they are written to. */
  private readonly streams: StreamPlan | undefined;
  private window: GPUBuffer | undefined;
  private readonly times: DispatchTimes;
  private readonly copies: Copy[] = [];
  /**
   * Bytes this program uses: intermediates (which it shares with other programs of the device), outputs, inputs, constants and uniforms;
   * weights and state not included.
   */
  allocatedBytes = 0;
  /** Floating-point operations of one run, by the kernels' own counts. */
  readonly flops: number;

  private constructor(readonly device: Device, private readonly schedule: Schedule, private readonly options: ProgramOptions) {
    const { streaming } = options;
    this.streams = streaming?.plan(schedule, (name) => streaming.weights(name) !== undefined, device.memoryLimit);
    this.outputs = new Map(Object.entries(options.outputs).map(([name, value]) => [name, asGraphValue(value)]));
    const costs = schedule.steps.map((step) => ({ length: step.plan.dispatches.length, cost: costOf(step) }));
    this.flops = costs.reduce((n, { cost }) => n + cost.flops, 0);
    this.times = new DispatchTimes(costs.flatMap(({ length, cost }) => Array.from({ length }, () => shared(cost, length))));
  }

  /**
   * Compiles and allocates. @throws ShaderCompileError; GpuError when memory runs out; Error for a parameter whose tensor
   * has another type than the graph expects, or a tensor larger than one binding of this device.
   */
  static async create(device: Device, graph: Graph, options: ProgramOptions): Promise<Program> {
    const schedule = makeSchedule(graph, Object.values(options.outputs), device.capabilities, options.assigns);
    const program = new Program(device, schedule, options);
    const compiled = await Promise.all(schedule.steps.flatMap((s) => s.plan.dispatches).map((d) => device.pipelines.get(d)));
    await device.withErrorScope(`program ${options.label ?? ""}`, async () => {
      program.allocate();
      program.dispatches = bindDispatches(device, schedule.steps, compiled, {
        uniforms: (bytes) => program.newBuffer(bytes, BufferUsage.uniform, "params"),
        of: (value, step) => {
          const streamed = value && program.streams?.at(value, step);
          return streamed ? { buffer: program.window!, ...streamed } : value ? program.memoryOf(value) : { buffer: device.nothing };
        },
        scratch: (step, index) => program.scratch[step]![index]!,
      });
    });
    return program;
  }

  get dispatchCount(): number {
    return this.dispatches.length;
  }

  /** The distinct pipelines it runs. */
  get pipelines(): ReadonlySet<GPUComputePipeline> {
    return new Set(this.dispatches.map((d) => d.compiled.pipeline));
  }

  /** Ops in running order, for cost tables. */
  get nodes(): readonly GraphNode[] {
    return this.schedule.steps.map((s) => s.node);
  }

  /** The same with how each is run. */
  get steps(): readonly Step[] {
    return this.schedule.steps;
  }

  private newBuffer(bytes: number, usage: number, label: string): GPUBuffer {
    const buffer = this.device.createBuffer(bytes, usage, label);
    this.owned.push(buffer);
    this.allocatedBytes += bytes;
    return buffer;
  }

  private allocate(): void {
    checkBindings(this.schedule, this.device.capabilities);
    for (const node of this.schedule.leaves) this.bindLeaf(node);
    for (const [v, target] of this.schedule.assigns.placed) this.memory.set(v, { buffer: this.targetBuffer(target) });
    for (const v of this.schedule.kept) this.memory.set(v, { buffer: this.newBuffer(byteLength(v.type), BufferUsage.storage, v.name) });
    const { intermediates, claims, scratchClaim } = this.schedule;
    const plan = planMemory(claims, this.device.bufferSharing);
    const windowBytes = this.streams?.windowBytes ?? 0;
    const buffers = [...plan.buffers, ...(windowBytes > 0 ? [windowBytes] : [])];
    this.shared = this.device.bufferSharing
      ? this.device.pool.acquire(buffers)
      : buffers.map((bytes, i) => this.newBuffer(bytes, BufferUsage.storage, `slot ${i}`));
    if (this.device.bufferSharing) this.allocatedBytes += plan.totalBytes + windowBytes;
    if (windowBytes > 0) this.window = this.shared.at(-1)!;
    const ranges = plan.places.map(({ buffer, offset }, i) => ({ buffer: this.shared[buffer]!, offset, size: claims[i]!.bytes }));
    intermediates.forEach((v, i) => this.memory.set(v, ranges[i]!));
    this.scratch = scratchClaim.map((list) => list.map((i) => ranges[i]!));
    for (const [target, value] of this.schedule.assigns.copies) {
      this.copies.push({ from: this.bufferOf(asGraphValue(value)), to: this.targetBuffer(target), bytes: byteLength(target.type) });
    }
  }

  private targetBuffer(target: Assign[0]): GPUBuffer {
    if (target instanceof Tensor) return target.buffer;
    const value = asGraphValue(target);
    if (!this.memory.has(value)) this.bindLeaf(value.node); // assigned to, but read by nothing
    return this.bufferOf(value);
  }

  private bindLeaf(node: GraphNode): void {
    const value = node.outputs[0]!;
    const leaf = node.leaf!;
    const bytes = byteLength(value.type);
    switch (leaf.kind) {
      case "input": {
        const buffer = this.newBuffer(bytes, BufferUsage.storage, node.name);
        this.inputs.set(node.name, { type: value.type, buffer });
        this.memory.set(value, { buffer });
        return;
      }
      case "constant": {
        const buffer = this.newBuffer(bytes, BufferUsage.storage, node.name);
        this.device.gpu.queue.writeBuffer(buffer, 0, leaf.data);
        this.memory.set(value, { buffer });
        return;
      }
      case "tensor":
        this.memory.set(value, { buffer: leaf.tensor.buffer });
        return;
      case "parameter": {
        if (this.options.streaming?.weights(node.name)) return;
        if (!this.options.parameters) throw new Error(`program ${this.options.label ?? ""}: parameter "${node.name}" has no source`);
        const tensor = this.options.parameters(node.name, value.type);
        if (formatType(tensor.type) !== formatType(value.type)) {
          throw new Error(`parameter "${node.name}" is ${formatType(tensor.type)} but the model expects ${formatType(value.type)}`);
        }
        this.memory.set(value, { buffer: tensor.buffer });
      }
    }
  }

  private memoryOf(value: GraphValue): GPUBufferBinding {
    const memory = this.memory.get(this.schedule.storage(value));
    if (!memory) throw new Error(`"${value.name}" has no memory: it is not computed by this program`);
    return memory;
  }

  /** Of an output, which has a buffer of its own. */
  private bufferOf(value: GraphValue): GPUBuffer {
    return this.memoryOf(value).buffer;
  }

  /** Whether an input is read by anything that the outputs need. */
  hasInput(name: string): boolean {
    return this.inputs.has(name);
  }

  get outputNames(): string[] {
    return [...this.outputs.keys()];
  }

  hasOutput(name: string): boolean {
    return this.outputs.has(name);
  }

  /** Queues a write of one input; it stays until written again. @throws Error for an unknown name or wrong size. */
  write(name: string, data: HostArray): void {
    const input = this.inputs.get(name);
    if (!input) throw new Error(`no input "${name}"; inputs are ${[...this.inputs.keys()].join(", ") || "none"}`);
    writeBuffer(this.device, input.buffer, input.type, data, name);
  }

  /**
   * Writes the given inputs and submits one run, after all runs asked for before. Does not wait for it, but until the device is near it.
   * @throws DeviceLostError or an earlier GpuError; AbortError; Error as `write`
   */
  run(inputs: Readonly<Record<string, HostArray>> = {}, options: RunOptions = {}): Promise<void> {
    return this.device.pacer.turn(() => this.runInTurn(inputs, options));
  }

  /**
   * A run and the outputs that it gave, with no other run between them: what several callers may ask of one program at a time.
   * @param names of outputs, all by default @throws as `run` and `read`
   */
  async compute(inputs: Readonly<Record<string, HostArray>>, ...names: string[]): Promise<Record<string, HostArray>> {
    const wanted = this.wanted(names);
    const reading = await this.device.pacer.turn(async () => {
      await this.runInTurn(inputs, {});
      return startRead(this.device, this.partsOf(wanted));
    });
    return decoded(wanted, await finishRead(this.device, reading));
  }

  private async runInTurn(inputs: Readonly<Record<string, HostArray>>, options: RunOptions): Promise<void> {
    const { signal, profile = profilerOf(this.device)?.next(this, this.label) } = options;
    this.device.check();
    for (const [name, data] of Object.entries(inputs)) this.write(name, data);
    if (this.options.poison) this.poison();
    const { count } = this.times;
    const copies = (to: number): readonly Copy[] => (to === count ? this.copies : []);
    const submit = (from: number, to: number): void => this.submit(this.dispatches.slice(from, to), copies(to), profile);
    const dispatched = (range?: readonly [number, number]): Promise<void> => this.device.pacer.submit(this.times, submit, signal, range);
    if (this.window) await this.streams!.run(this.device, this.window, this.options.streaming!.weights, dispatched);
    else await dispatched();
    if (count === 0) this.submit([], this.copies, profile);
    this.device.countFlops(this.flops);
  }

  private get label(): string {
    return this.options.label ?? "program";
  }

  private submit(dispatches: readonly BoundDispatch[], copies: readonly Copy[], profile: Profile | undefined): void {
    this.device.check();
    const encoder = this.device.gpu.createCommandEncoder({ label: this.label });
    if (profile) profile.encode(encoder, dispatches);
    else {
      const pass = encoder.beginComputePass();
      let current: GPUComputePipeline | undefined;
      for (const d of dispatches) {
        if (d.compiled.pipeline !== current) pass.setPipeline((current = d.compiled.pipeline));
        pass.setBindGroup(0, d.bindGroup);
        pass.dispatchWorkgroups(...d.workgroups);
      }
      pass.end();
    }
    for (const { from, to, bytes } of copies) encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** Outputs of the last run that was asked for, read back together. @throws Error for an unknown name. */
  async read(...names: string[]): Promise<Record<string, HostArray>> {
    const wanted = this.wanted(names);
    return decoded(wanted, await readBuffers(this.device, this.partsOf(wanted)));
  }

  /** Outputs by name, all of them if none is named. @throws Error for an unknown name */
  private wanted(names: readonly string[]): [string, GraphValue][] {
    if (names.length === 0) return [...this.outputs];
    return names.map((name) => {
      const value = this.outputs.get(name);
      if (!value) throw new Error(`no output "${name}"; outputs are ${[...this.outputs.keys()].join(", ")}`);
      return [name, value];
    });
  }

  private partsOf(wanted: readonly (readonly [string, GraphValue])[]): BufferPart[] {
    return wanted.map(([, value]) => ({ buffer: this.bufferOf(value), bytes: byteLength(value.type) }));
  }

  /** One f32 output of the last run. */
  async readFloats(name: string): Promise<Float32Array<ArrayBuffer>> {
    return requireFloats(name, await this.read(name));
  }

  /** A run and one f32 output of it, as `compute`. */
  async computeFloats(inputs: Readonly<Record<string, HostArray>>, name: string): Promise<Float32Array<ArrayBuffer>> {
    return requireFloats(name, await this.compute(inputs, name));
  }

  private poison(): void {
    for (const buffer of [...this.shared, ...this.schedule.kept.map((v) => this.bufferOf(v))]) {
      this.device.gpu.queue.writeBuffer(buffer, 0, new Uint8Array(buffer.size).fill(0xff));
    }
  }

  /** Frees its buffers; weights and state stay. */
  destroy(): void {
    if (this.device.bufferSharing) this.device.pool.release(this.shared.splice(0));
    for (const buffer of this.owned.splice(0)) this.device.destroyBuffer(buffer);
  }
}

function decoded(wanted: readonly (readonly [string, GraphValue])[], bytes: readonly ArrayBuffer[]): Record<string, HostArray> {
  return Object.fromEntries(wanted.map(([name, { type }], i) => [name, decodeBytes(type, bytes[i]!)]));
}

function requireFloats(name: string, read: Readonly<Record<string, HostArray>>): Float32Array<ArrayBuffer> {
  const data = read[name]!;
  if (!(data instanceof Float32Array)) throw new Error(`output "${name}" is not f32`);
  return data;
}
