import type { Dispatch } from "../../kernels/kernel.ts";
import { type ReflectedShader, expandShader, reflectShader, withSubgroupSize } from "./shader.ts";
import { ShaderCompileError } from "./errors.ts";

const COMPUTE_STAGE = 0x4;

export interface CompiledPipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly reflection: ReflectedShader;
  readonly label: string;
}

/** What compiles: a Device. */
interface Compiler {
  readonly gpu: GPUDevice;
  /** Waits for `promise`, or until the device is lost. @throws DeviceLostError */
  orLost<T>(promise: Promise<T>): Promise<T>;
}

/** Pipelines by shader text, compiled once per device, asynchronously and all at the same time. */
export class PipelineCache {
  private readonly byText = new Map<string, Promise<CompiledPipeline>>();
  private readonly expanded = new Map<string, string>();
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  private finished = 0;
  /** The size that shaders with subgroups state; 0: none does. */
  statedSubgroups = 0;

  constructor(private readonly device: Compiler) {}

  /** Number of distinct pipelines made so far. */
  get size(): number {
    return this.byText.size;
  }

  /** How many of these are compiled by now. */
  get compiled(): number {
    return this.finished;
  }

  /** The pipeline of a dispatch. @throws ShaderCompileError with the numbered source around each message. */
  get(dispatch: Dispatch): Promise<CompiledPipeline> {
    const { shader, defines, halves } = dispatch;
    const key = `${shader.name} ${JSON.stringify([defines, halves])}`;
    let text = this.expanded.get(key);
    if (text === undefined) this.expanded.set(key, (text = expandShader(shader, defines, halves)));
    text = withSubgroupSize(text, this.statedSubgroups);
    let compiled = this.byText.get(text);
    if (!compiled) this.byText.set(text, (compiled = this.compile(dispatch.shader.name, text)));
    return compiled;
  }

  private async compile(label: string, text: string): Promise<CompiledPipeline> {
    const { gpu } = this.device;
    const reflection = reflectShader(text);
    const { group, pipeline: layout } = this.layout(reflection);
    const module = gpu.createShaderModule({ label, code: text });
    try {
      const pipeline = await this.device.orLost(gpu.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } }));
      this.finished++;
      return { pipeline, layout: group, reflection, label };
    } catch (error) {
      const info = await module.getCompilationInfo();
      const { formatCompileMessages } = await import("./compile-messages.ts");
      throw new ShaderCompileError(
        `shader "${label}" does not compile: ${(error as Error).message}\n${formatCompileMessages(text, [...info.messages])}`,
      );
    }
  }

  // Layouts are explicit, so that a binding a shader declares but does not use is still there to be bound.
  private layout(reflection: ReflectedShader): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const entries: GPUBindGroupLayoutEntry[] = reflection.storage.map((s) => ({
      binding: s.binding,
      visibility: COMPUTE_STAGE,
      buffer: { type: s.writable ? "storage" : "read-only-storage" },
    }));
    if (reflection.uniform) entries.push({ binding: reflection.uniform.binding, visibility: COMPUTE_STAGE, buffer: { type: "uniform" } });
    const key = JSON.stringify(entries);
    let layout = this.layouts.get(key);
    if (!layout) {
      const group = this.device.gpu.createBindGroupLayout({ entries });
      layout = { group, pipeline: this.device.gpu.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.layouts.set(key, layout);
    }
    return layout;
  }
}
