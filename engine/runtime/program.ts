import { type Cost, type TensorType, type Value, byteLength } from "../../kernels/kernel.ts";
import type { Assign } from "./plan/assigns.ts";
import type { Device } from "./device.ts";
import { type Graph, type GraphNode, type GraphValue, asGraphValue } from "./graph.ts";
import { type BoundDispatch, bindDispatches } from "./plan/bind-groups.ts";
import { type Copy, type ProgramMemory, allocateProgram } from "./plan/program-memory.ts";
import { DispatchTimes } from "./pacing.ts";
import type { Profile } from "./profile/profile.ts";
import { profilerOf } from "./profile/profiler.ts";
import { type Schedule, type Step, costOf, makeSchedule } from "./plan/schedule.ts";
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

/**
 * A graph made ready for a device: pipelines compiled, memory planned and allocated, bind groups made once.
 * A run is a few command buffers: see Pacer.
 */
export class Program {
  /** What can be read after a run, by name. */
  readonly outputs: ReadonlyMap<string, GraphValue>;
  private memory!: ProgramMemory;
  private dispatches: readonly BoundDispatch[] = [];
  /** How weights come to it that are not on the device. */
  private readonly streams: StreamPlan | undefined;
  private readonly times: DispatchTimes;
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
      const { streams } = program;
      const memory = allocateProgram(device, schedule, {
        label: program.label,
        windowBytes: streams?.windowBytes ?? 0,
        streams: (leaf) => options.streaming?.weights(leaf) !== undefined,
        parameters: options.parameters,
      });
      program.memory = memory;
      program.dispatches = bindDispatches(device, schedule.steps, compiled, {
        uniforms: memory.uniforms,
        of: (value, step) => {
          const streamed = value && streams?.at(value, step);
          return streamed ? { buffer: memory.window!, ...streamed } : value ? memory.of(value) : { buffer: device.nothing };
        },
        scratch: memory.scratch,
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

  /**
   * Bytes this program uses: intermediates (which it shares with other programs of the device), outputs, inputs, constants and uniforms;
   * weights and state not included.
   */
  get allocatedBytes(): number {
    return this.memory.bytes();
  }

  /** Whether an input is read by anything that the outputs need. */
  hasInput(name: string): boolean {
    return this.memory.inputs.has(name);
  }

  /** Queues a write of one input; it stays until written again. @throws Error for an unknown name or wrong size. */
  write(name: string, data: HostArray): void {
    const input = this.memory.inputs.get(name);
    if (!input) throw new Error(`no input "${name}"; inputs are ${[...this.memory.inputs.keys()].join(", ") || "none"}`);
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
    if (this.options.poison) this.memory.poison();
    const { memory, times: { count } } = this;
    const copies = (to: number): readonly Copy[] => (to === count ? memory.copies : []);
    const submit = (from: number, to: number): void => this.submit(this.dispatches.slice(from, to), copies(to), profile);
    const dispatched = (range?: readonly [number, number]): Promise<void> => this.device.pacer.submit(this.times, submit, signal, range);
    if (memory.window) await this.streams!.run(this.device, memory.window, this.options.streaming!.weights, dispatched);
    else await dispatched();
    if (count === 0) this.submit([], memory.copies, profile);
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
    return wanted.map(([, value]) => ({ buffer: this.memory.of(value).buffer, bytes: byteLength(value.type) }));
  }

  /** One f32 output of the last run. */
  async readFloats(name: string): Promise<Float32Array<ArrayBuffer>> {
    return requireFloats(name, await this.read(name));
  }

  /** A run and one f32 output of it, as `compute`. */
  async computeFloats(inputs: Readonly<Record<string, HostArray>>, name: string): Promise<Float32Array<ArrayBuffer>> {
    return requireFloats(name, await this.compute(inputs, name));
  }

  /** Frees its buffers; weights and state stay. */
  destroy(): void {
    this.memory.free();
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
