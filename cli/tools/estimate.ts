import type { Command } from "commander";
import { type RunEstimate, type RunWork, describeEstimate, estimateRun } from "../../engine/diffusion/estimate-run.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { measureUploadRate } from "../../engine/runtime/upload-rate.ts";
import { action } from "../context.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import { addModelOptions, openModel } from "../model.ts";
import { wholeNumber } from "../options.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

type EstimateFlags = ModelOptions & {
  readonly width?: number;
  readonly height?: number;
  readonly steps: number;
  readonly guided: boolean;
};

export function estimateCommand(program: Command): void {
  addModelOptions(
    program
      .command("estimate")
      .description("memory and operations of a picture and of an attack's iteration, on this device or on one of --memory-limit"),
  )
    .option("--width <pixels>", "default: the model's own size", wholeNumber(1, 16_384))
    .option("--height <pixels>", "default: the model's own size", wholeNumber(1, 16_384))
    .option("--steps <n>", "sampling steps of the picture", wholeNumber(1, 1000), 50)
    .option("--no-guided", "a picture without guidance: half the work of a step")
    .action(
      action<EstimateFlags>(async (flags, context) => {
        const model = await openModel(context, flags);
        const { factor } = model.parts.vae.config;
        const [height, width] = model.defaultLatentSize.map((n) => n * factor) as [number, number];
        const picture: RunWork = {
          width: flags.width ?? width, height: flags.height ?? height, rows: flags.guided ? 2 : 1, pictures: 1, attackRows: 0,
        };
        const rows = ([["picture", picture], ["attack", { ...picture, attackRows: 1 }]] as const).map(([name, work]) => ({
          name,
          ...toJson(estimateRun(model, work, context.options.offload), model.device.memoryLimit, flags.steps),
        }));
        const rate = rows.some((row) => row.sentBytesPerPass > 0) ? await measureUploadRate(model.device) : undefined;
        for (const { name, said } of rows) context.say(`${name === "attack" ? "an attack" : "a picture"} ${said(rate)}`);
        const { width: w, height: h } = picture;
        const weights = context.options.weights ?? "f32";
        context.result(
          {
            model: flags.model, width: w, height: h, steps: flags.steps, weights,
            memoryLimit: finite(model.device.memoryLimit), rows, uploadRate: rate ?? null,
          },
          terminalTable(
            columnsOf(["", "device memory", "weights", "to work in", "in host memory", "sent each pass", "operations"]),
            rows.map((row) => [
              row.name === "attack" ? "attack iteration" : `picture, ${flags.steps} steps`,
              `${formatBytes(row.bytes)}${row.fits ? "" : " (too much)"}`, formatBytes(row.weightBytes), formatBytes(row.workingBytes),
              formatBytes(row.hostBytes), formatBytes(row.sentBytesPerPass), `${(row.flops / 1e12).toPrecision(3)} TFLOP`,
            ]),
          ),
        );
        await model.destroy();
      }),
    );
}

const finite = (limit: number): number | null => (Number.isFinite(limit) ? limit : null);

function toJson(estimate: RunEstimate, limit: number, steps: number) {
  const { weightBytes, workingBytes, flops, recomputing, offloading } = estimate;
  const bytes = weightBytes + workingBytes;
  return {
    bytes, weightBytes, workingBytes,
    fits: bytes <= limit,
    recomputes: recomputing !== undefined,
    hostBytes: offloading?.hostBytes ?? 0,
    sentBytesPerPass: offloading?.bytesPerPass ?? 0,
    flops: flops.iteration > 0 ? flops.iteration : steps * flops.step + flops.decode,
    said: (rate?: number) => describeEstimate(estimate, rate),
  };
}
