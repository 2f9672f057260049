import { type Command, Option } from "commander";
import { CARDS, type Card } from "../../bench/predict/cards.ts";
import { predictModel } from "../../bench/predict/roofline.ts";
import { measuredMs, predictionText } from "../../bench/predict/table.ts";
import { type Context, action } from "../context.ts";
import { openModel } from "../model.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { finiteNumber, wholeNumber } from "../options.ts";
import { readResult } from "./bench-file.ts";

interface PredictFlags {
  readonly card: string;
  readonly model: string | readonly string[];
  readonly size?: readonly number[];
  readonly batch: readonly number[];
  readonly tokens: number;
  readonly gflops?: number;
  readonly matrixGflops?: number;
  readonly gbps?: number;
  readonly launch?: number;
  readonly against?: string;
}

/** @param sizes parses a list of whole numbers */
export function predictCommand(bench: Command, sizes: (text: string) => readonly number[]): void {
  bench
    .command("predict")
    .description(
      "predict the time of UNet passes and an attack iteration on a card, by the roofline of every op: what to compare a GPU's bench " +
        "with. Nothing runs; --math f16 predicts products on matrix units, --weights f16 halves the weights' bytes",
    )
    .addOption(new Option("--card <name>", "the card").choices(Object.keys(CARDS)).default("h100"))
    .option("--model <model>", "whose shapes", "synthetic:sd14")
    .option("--size <sizes>", "latent sizes, separated by commas (default: the model's own)", sizes)
    .option("--batch <sizes>", "batch sizes of the UNet; the gradient is at the first", sizes, [1, 2])
    .option("--tokens <n>", "adversarial tokens of the iteration", wholeNumber(1, 64), 5)
    .option("--gflops <rate>", "the card's f32 rate in GFLOP/s, in place of the table's", finiteNumber(1))
    .option("--matrix-gflops <rate>", "its rate of f16 products on matrix units", finiteNumber(1))
    .option("--gbps <rate>", "its memory bandwidth in GB/s", finiteNumber(1))
    .option("--launch <us>", "microseconds for each dispatch", finiteNumber(0))
    .option("--against <file>", "a result of bench unet attack: its times stand beside")
    .action(action<PredictFlags>(predict));
}

async function predict(flags: PredictFlags, context: Context): Promise<void> {
  const measured = flags.against === undefined ? undefined : await readResult(flags.against);
  const card = cardOf(flags);
  const half = (context.options.math ?? "f32") !== "f32";
  const [name = "", ...others] = [flags.model].flat(); // a list where bench's own option took it
  if (others.length > 0) throw new UsageError(`bench predict takes one model, got ${others.length + 1}`);
  const model = await openModel(context, { model: name });
  try {
    const sizes = flags.size ?? [model.parts.unet.config.sampleSize];
    const predictions = predictModel(model, sizes, flags.batch, flags.tokens, card, half);
    context.result(
      {
        card,
        half,
        model: name,
        predictions: predictions.map((p) => ({ ...p, measured: (measured && measuredMs(measured, name, p)) ?? null })),
      },
      predictionText(predictions, card, half, name, measured),
    );
  } finally {
    await model.destroy();
  }
}

function cardOf({ card, gflops, matrixGflops, gbps, launch }: PredictFlags): Card {
  const known = CARDS[card]!;
  const own = gflops ?? matrixGflops ?? gbps ?? launch;
  return {
    ...known,
    ...(gflops !== undefined && { gflops }),
    ...(matrixGflops !== undefined && { matrixGflops }),
    ...(gbps !== undefined && { gbps }),
    ...(launch !== undefined && { launchMicroseconds: launch }),
    ...(own !== undefined && { name: `${known.name}, changed`, source: "as given" }),
  };
}
