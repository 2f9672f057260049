import type { Dispatch } from "../../../kernels/kernel.ts";
import type { Device } from "../device.ts";
import type { GraphNode, GraphValue } from "../graph.ts";
import type { CompiledPipeline } from "../pipelines.ts";
import { packParams } from "../shader.ts";
import { BINDING_ALIGNMENT } from "./memory-plan.ts";
import type { Step } from "./schedule.ts";

/** A dispatch with all that it takes to submit it. */
export interface BoundDispatch {
  readonly step: Step;
  readonly compiled: CompiledPipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

export interface BindingMemory {
  /** Makes the buffer that holds the params of all dispatches. */
  uniforms(bytes: number): GPUBuffer;
  /** Where a value lies at a step of the schedule; undefined: where there is none, zeros. */
  of(value: GraphValue | undefined, step: number): GPUBufferBinding;
  /** Scratch memory of a step, by its place in the schedule. */
  scratch(step: number, index: number): GPUBufferBinding;
}

/**
 * Binds the dispatches of a schedule, in running order, and writes their params.
 * @param compiled the pipeline of each dispatch
 * @throws Error naming op, shader and variable where a dispatch and its shader do not name the same
 */
export function bindDispatches(
  device: Device,
  steps: readonly Step[],
  compiled: readonly CompiledPipeline[],
  memory: BindingMemory,
): BoundDispatch[] {
  const { gpu } = device;
  const dispatches = steps.flatMap((step, index) => step.plan.dispatches.map((dispatch) => ({ step, index, dispatch })));
  const blocks = dispatches.map(({ step, dispatch }, i) => paramsOf(step, dispatch, compiled[i]!));
  const offsets: number[] = [];
  let bytes = 0;
  for (const block of blocks) {
    offsets.push(bytes);
    bytes += Math.ceil(Math.max(block.byteLength, 1) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  }
  const uniforms = memory.uniforms(Math.max(16, bytes));
  const packed = new Uint8Array(Math.max(16, bytes));
  blocks.forEach((b, i) => packed.set(new Uint8Array(b), offsets[i]!));
  gpu.queue.writeBuffer(uniforms, 0, packed);

  return dispatches.map(({ step, index, dispatch }, i) => {
    const pipeline = compiled[i]!;
    const { storage, uniform } = pipeline.reflection;
    const where = `op "${step.node.name}": shader "${dispatch.shader.name}"`;
    const entries: GPUBindGroupEntry[] = storage.map((s) => {
      return { binding: s.binding, resource: resourceOf(s.name, dispatch, step.node, index, memory, where) };
    });
    const unknown = Object.keys(dispatch.bindings ?? {}).find((name) => !storage.some((s) => s.name === name));
    if (unknown) throw new Error(`${where} has no variable "${unknown}"`);
    if (uniform) {
      const size = Math.max(16, blocks[i]!.byteLength);
      entries.push({ binding: uniform.binding, resource: { buffer: uniforms, offset: offsets[i]!, size } });
    }
    const bindGroup = gpu.createBindGroup({ label: step.node.name, layout: pipeline.layout, entries });
    return { step, compiled: pipeline, bindGroup, workgroups: dispatch.workgroups };
  });
}

/** Where a shader's variable lies: as its dispatch says, or else the op's input or output of its name. */
function resourceOf(
  variable: string,
  { bindings = {} }: Dispatch,
  { kernel, inputs, outputs, attributes }: GraphNode,
  step: number,
  memory: BindingMemory,
  where: string,
): GPUBufferBinding {
  const binding = bindings[variable] ?? { input: variable };
  if (binding === "nothing") return memory.of(undefined, step);
  if ("scratch" in binding) return memory.scratch(step, binding.scratch);
  const name = "input" in binding ? binding.input : binding.output;
  const found = kernel!.find(name, inputs, outputs, attributes);
  if (!found) throw new Error(`${where} has a variable "${variable}" that is not bound, and the op has no input or output "${name}"`);
  return memory.of(found.value, step);
}

function paramsOf({ node }: Step, { shader, params }: Dispatch, { reflection: { uniform } }: CompiledPipeline): ArrayBuffer {
  if (uniform) return packParams(uniform.fields, params);
  if (Object.keys(params).length > 0) throw new Error(`op "${node.name}": shader "${shader.name}" takes no params`);
  return new ArrayBuffer(0);
}
