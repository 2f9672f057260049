import type { Command } from "commander";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { readBytes } from "../../engine/platform/node-files.ts";
import { assetsFolder, modelSource, resolvePath } from "../../engine/platform/model-source-node.ts";
import { type FileWork, type Row, type VerifyResult, verify } from "../../engine/verify/index.ts";
import { createClipTokenizer } from "../../tokenizer/index.ts";
import { suitedTo } from "../model.ts";
import { resolveModel } from "../model-source.ts";
import { action } from "../context.ts";
import { EXIT } from "../errors.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

interface VerifyCommandOptions {
  readonly model?: string;
  readonly golden: string;
}

export function verifyCommand(program: Command): void {
  program
    .command("verify")
    .description(
      "recompute reference outputs on this device: one row per check with its relative L2 error; exit 1 if any is over its tolerance",
    )
    .option(
      "--model <model>",
      "the model that the references were made with: emoji (bundled), a folder in diffusers layout, a checkpoint, or synthetic:sd14; " +
        "ops, tokenizer, schedulers and random numbers need none",
    )
    .requiredOption("--golden <path>", "a reference's .json file, or a folder of them")
    .action(
      action<VerifyCommandOptions>(async (options, context) => {
        const started = performance.now();
        const golden = resolvePath(options.golden).replace(/[/\\]+$/, "");
        const model = options.model ?? modelAbove(golden);
        const source = model === undefined ? modelSource("emoji") : await resolveModel(model, context, suitedTo(context));
        const result = await context.withProgress("verify", (progress) =>
          verify({
            files: source.files,
            golden,
            device: () => context.device(),
            model: model === undefined ? undefined : source.folder,
            clipTokenizer: async () => createClipTokenizer(await readBytes(`${assetsFolder()}/clip/bpe_simple_vocab_16e6.txt.gz`)),
            clipMerges: source.clipMerges,
            weights: context.options.weights,
            onFile: (file, i, count) => progress.update(i / count, file),
          }),
        );
        const adapter = result.rows.length > 0 ? await context.openedDescription() : undefined;
        const summary = summarise(result, (performance.now() - started) / 1000, adapter);
        context.result({ ...result }, `${table(result.rows)}\n\n${workTable(result.files)}\n\n${summary}`);
        if (context.options.json) context.say(summary);
        return result.ok ? EXIT.done : EXIT.failed;
      }),
    );
}

/** The model in whose folder a reference lies, as `emoji/reference` does. */
function modelAbove(golden: string): string | undefined {
  for (let folder = dirname(resolve(golden)); dirname(folder) !== folder; folder = dirname(folder)) {
    if (existsSync(join(folder, "model_index.json"))) return folder;
  }
  return undefined;
}

function table(rows: readonly Row[]): string {
  return terminalTable(
    columnsOf(["file", "case", "tensor", "error", "tolerance", "measure", "ok", ""], [3, 4]),
    rows.map((r) => [
      r.file,
      r.case,
      r.tensor,
      r.error === null ? "-" : number(r.error, r.measure),
      number(r.tolerance, r.measure),
      r.measure,
      r.ok ? "ok" : "FAILED",
      r.note ?? "",
    ]),
  );
}

function workTable(files: readonly FileWork[]): string {
  return terminalTable(
    columnsOf(["file", "seconds", "peak memory", "GFLOP", "GFLOP/s"], [1, 2, 3, 4]),
    files.map(({ file, seconds, peakBytes, flops }) => [
      file,
      seconds.toFixed(1),
      peakBytes > 0 ? formatBytes(peakBytes) : "-",
      ...(flops > 0 ? [(flops / 1e9).toPrecision(3), (flops / 1e9 / seconds).toPrecision(3)] : ["-", "-"]),
    ]),
  );
}

function number(value: number, measure: Row["measure"]): string {
  return measure === "mismatches" || measure === "levels" ? String(value) : value.toExponential(2);
}

/** Error in units of the tolerance; of counts that pass nothing more can be said. */
function ratio({ error, tolerance, measure, ok }: Row): number {
  if (error === null) return Infinity;
  if (ok && (measure === "levels" || measure === "mismatches")) return 0;
  if (tolerance > 0) return error / tolerance;
  return error > 0 ? Infinity : 0;
}

/** How many rows passed, and which came nearest to its tolerance or went furthest over it. */
function summarise({ rows, halfPrecision, halfWeights }: VerifyResult, seconds: number, adapter: string | undefined): string {
  const failed = rows.filter((r) => !r.ok);
  const worst = rows.reduce((a, b) => (ratio(b) > ratio(a) ? b : a));
  const about = `worst: ${[worst.file, worst.case, worst.tensor].filter(Boolean).join(" ")}, ` +
    `${worst.error === null ? (worst.note ?? "not computed") : (`${number(worst.error, worst.measure)} of ` +
      `${number(worst.tolerance, worst.measure)}`)}`;
  const halves = halfPrecision ? "operands" : halfWeights ? "weights" : undefined;
  const within = halves === undefined ? "tolerance" : `the tolerances of f16 ${halves}`;
  const failures = failed.length > 0 ? `, ${failed.length} FAILED` : "";
  const where = adapter === undefined ? "" : ` on ${adapter}`;
  return `${rows.length - failed.length} of ${rows.length} checks within ${within}${failures}; ${about}; ${seconds.toFixed(1)} s${where}`;
}
