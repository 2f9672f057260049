import type { StableDiffusion } from "../engine/diffusion/stable-diffusion.ts";
import { lookup } from "../engine/nn/leaf-store.ts";
import { Graph } from "../engine/runtime/graph.ts";
import { DispatchTimes, type Pacer } from "../engine/runtime/pacing.ts";
import { Program } from "../engine/runtime/program.ts";
import { type MeasureOptions, type Measured, measureInterleaved } from "./measure.ts";
import { recordUNet, unetInputs } from "./suites/unet.ts";

/** A UNet pass with its gradient, in command buffers of about 100 ms and in one. */
export interface PacingComparison {
  readonly size: number;
  readonly dispatches: number;
  /** Whether both gave the same bits. */
  readonly sameBits: boolean;
  readonly paced: Measured;
  readonly single: Measured;
  /** Command buffers of a paced run, once the times are known. */
  readonly buffers: number;
  /** The longest buffer of all paced runs that was waited for alone, the first runs included, in milliseconds. */
  readonly longestMilliseconds: number;
}

/** Submits a run's dispatches at once, whatever they take. */
function atOnce(pacer: Pacer): Pacer["submit"] {
  const paced = pacer.submit.bind(pacer);
  return async (times, submit, signal) => {
    await paced(new DispatchTimes([]), submit, signal);
    submit(0, times.count);
  };
}

/**
 * Compares paced submission with one submission, sample by sample in turn.
 * @param size of the latents
 * @throws what a run throws
 */
export async function comparePacing(model: StableDiffusion, size: number, options: MeasureOptions): Promise<PacingComparison> {
  const { device, parts: { textEncoder, unet, vae } } = model;
  const all = [textEncoder.parameters, unet.parameters, vae.parameters];
  const graph = new Graph();
  const recorded = recordUNet(graph, model, size, 1, true);
  for (const parameters of all) await parameters.load();
  const program = await Program.create(device, graph, { label: "pacing", parameters: lookup(...all), ...recorded });
  for (const [name, data] of Object.entries(unetInputs(model, size, 1))) program.write(name, data);
  const { pacer } = device;
  const paced = pacer.submit;
  const single = atOnce(pacer);
  const runs = async (submit: Pacer["submit"], count: number): Promise<void> => {
    pacer.submit = submit;
    try {
      for (let i = 0; i < count; i++) await program.run();
      await device.settle();
    } finally {
      pacer.submit = paced;
    }
  };
  try {
    const gradients: Uint32Array[] = [];
    for (const submit of [paced, single]) {
      await runs(submit, 1);
      gradients.push(new Uint32Array((await program.readFloats("gradient")).buffer));
    }
    const subjects = [{ name: "paced", submit: paced }, { name: "single", submit: single }];
    const measured = await measureInterleaved(
      subjects.map(({ name, submit }) => ({ name, run: (count) => runs(submit, count) })),
      options,
    );
    for (const result of measured) if (result instanceof Error) throw result;
    const before = pacer.statistics.buffers;
    await runs(paced, 1);
    const { buffers, longestMilliseconds } = pacer.statistics;
    return {
      size,
      dispatches: program.dispatchCount,
      sameBits: gradients[0]!.every((word, i) => word === gradients[1]![i]),
      paced: measured[0] as Measured,
      single: measured[1] as Measured,
      buffers: buffers - before,
      longestMilliseconds,
    };
  } finally {
    program.destroy();
  }
}
