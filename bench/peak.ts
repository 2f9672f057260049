import { type Kernel, type NoAttributes, type Recorder, type Value, f32 } from "../kernels/kernel.ts";
import { pointwise, vectorwise } from "../kernels/pointwise.ts";
import type { Device } from "../engine/runtime/device.ts";
import { Graph } from "../engine/runtime/graph.ts";
import { Program } from "../engine/runtime/program.ts";
import { Tensor } from "../engine/runtime/tensor.ts";
import { type MeasureOptions, type Measured, measureInterleaved } from "./measure.ts";
import { type Basis, type Peak, leastMs } from "./rates.ts";
import copyWgsl from "../shaders/bench-copy.wgsl";
import fmaWgsl from "../shaders/bench-fma.wgsl";

/** 48 vec4 fma a turn, see the shader. */
const FLOPS_PER_TURN = 48 * 4 * 2;

type FmaAttributes = { readonly count: number; readonly turns: number; readonly half: boolean };

const fmaKernel: Kernel<FmaAttributes> = {
  name: "bench-fma",
  inputs: {},
  infer: (_inputs, { count }) => ({ y: f32([count, 4]) }),
  plan: ({ attributes: { count, turns, half } }) => ({
    dispatches: [pointwise({ name: "bench-fma", text: fmaWgsl }, { count, turns }, { defines: { HALF: half } })],
  }),
  cost: (_inputs, _outputs, { count, turns }) => ({ flops: count * turns * FLOPS_PER_TURN }),
};

const copyKernel: Kernel<NoAttributes, "x"> = {
  name: "bench-copy",
  inputs: { x: {} },
  infer: ({ x }) => ({ y: x }),
  plan: ({ inputs: { x } }) => ({ dispatches: [vectorwise({ name: "bench-copy", text: copyWgsl }, x)] }),
};

/** Sizes that take a software adapter some ten milliseconds and keep a large GPU busy. */
const FMA = { software: { count: 16384, turns: 64 }, hardware: { count: 2 ** 20, turns: 256 } } as const;
/** Of each of the two buffers; past any cache. */
const COPY_BYTES = { software: 2 ** 26, hardware: 2 ** 28 } as const;

/** Runs the two kernels. @throws whatever the device reports */
export async function measurePeak(device: Device, basis: Basis, options: MeasureOptions): Promise<Peak> {
  const kind = device.info.software ? "software" : "hardware";
  const { count, turns } = FMA[kind];
  const flops = count * turns * FLOPS_PER_TURN;
  const fma = (half: boolean) => (g: Recorder): Value => g.apply(fmaKernel, {}, { count, turns, half }).y;
  const gflops = flops / 1e6 / leastMs(await time(device, "bench-fma", fma(false), options), basis);
  const gflopsF16 = device.capabilities.shaderF16
    ? flops / 1e6 / leastMs(await time(device, "bench-fma f16", fma(true), options), basis)
    : undefined;
  const floats = Math.min(COPY_BYTES[kind], device.capabilities.maxStorageBufferBindingSize, device.limits.maxBufferSize) / 4;
  const source = new Tensor(device, "bench-copy.source", f32([floats - (floats % 4)]));
  try {
    const copied = await time(device, "bench-copy", (g) => g.apply(copyKernel, { x: g.tensor(source) }, {}).y, options);
    return { gflops, gbps: (2 * 4 * floats) / 1e6 / leastMs(copied, basis), ...(gflopsF16 !== undefined && { gflopsF16 }) };
  } finally {
    source.destroy();
  }
}

async function time(device: Device, label: string, build: (g: Graph) => Value, options: MeasureOptions): Promise<Measured> {
  const graph = new Graph();
  const program = await Program.create(device, graph, { outputs: { y: build(graph) }, label });
  try {
    const subject = {
      name: label,
      async run(runs: number): Promise<void> {
        for (let i = 0; i < runs; i++) await program.run();
        await device.settle();
      },
    };
    const [result] = await measureInterleaved([subject], options);
    if (result instanceof Error) throw result;
    return result!;
  } finally {
    program.destroy();
  }
}
