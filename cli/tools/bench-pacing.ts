import type { Command } from "commander";
import { type PacingComparison, comparePacing } from "../../bench/pacing.ts";
import { type Context, action } from "../context.ts";
import { EXIT } from "../errors.ts";
import { openModel } from "../model.ts";
import { finiteNumber, wholeNumber } from "../options.ts";

interface PacingFlags {
  readonly model: string;
  readonly size?: readonly number[];
  readonly samples: number;
  readonly seconds: number;
}

/** @param sizes parses a list of whole numbers */
export function pacingCommand(bench: Command, sizes: (text: string) => readonly number[]): void {
  bench
    .command("pacing")
    .description(
      "what cutting a run into command buffers costs: a UNet pass with its gradient in buffers of about 100 ms, as every run, and in one " +
        "submission; whether the bits are the same, both times, and the longest buffer",
    )
    .option("--model <model>", "the model", "emoji")
    .option("--size <sizes>", "latent sizes, separated by commas (default: the model's own)", sizes)
    .option("--samples <n>", "samples wanted of each", wholeNumber(2, 1000), 9)
    .option("--seconds <s>", "time for the samples of both together", finiteNumber(0.01), 20)
    .action(action<PacingFlags>(pacing));
}

async function pacing({ model: name, size, samples, seconds }: PacingFlags, context: Context): Promise<number> {
  const model = await openModel(context, { model: name });
  try {
    const results: PacingComparison[] = [];
    for (const latent of size ?? [model.parts.unet.config.sampleSize]) {
      results.push(await comparePacing(model, latent, { samples, sampleMs: 200, budgetMs: 1000 * seconds }));
    }
    context.result({ model: name, results }, results.map((result) => text(name, result)).join("\n"));
    return results.every((r) => r.sameBits) ? EXIT.done : EXIT.failed;
  } finally {
    await model.destroy();
  }
}

function text(model: string, { size, dispatches, sameBits, paced, single, buffers, longestMilliseconds }: PacingComparison): string {
  const ratio = (by: "cpu" | "wall"): string => (paced[by].median / single[by].median).toFixed(3);
  const ms = (x: number): string => `${x.toFixed(1)} ms`;
  const times = ({ wall, cpu }: PacingComparison["paced"]): string => `${ms(wall.median)} by the clock, ${ms(cpu.median)} CPU`;
  return `${model} @${size}, forward and gradient, ${dispatches} dispatches: ${sameBits ? "the same bits" : "OTHER BITS"}
  paced   ${times(paced)}; ${buffers} command buffers, the longest ${ms(longestMilliseconds)}
  at once ${times(single)}; 1 command buffer
  paced over at once: ${ratio("wall")} by the clock, ${ratio("cpu")} CPU`;
}
