import { type Command, InvalidArgumentError } from "commander";
import { dirname, join } from "node:path";
import { type ComparisonReport, compareResults } from "../../bench/compare.ts";
import { chartSvg } from "../../bench/chart.ts";
import { growthChartSvg } from "../../bench/growth/chart.ts";
import { PEER_PACKAGES, loadPeers } from "../../bench/peers/index.ts";
import { ratiosToPeers, summarizeRatios } from "../../bench/ratios.ts";
import { type BenchResult, type BenchRow, mergeResults } from "../../bench/results.ts";
import { besideTorch, parseTorch, torchText } from "../../bench/torch.ts";
import { type BenchSettings, SUITES, type Suite, runBench } from "../../bench/run.ts";
import { figures } from "../../bench/statistics.ts";
import { comparisonText, resultText } from "../../bench/table.ts";
import { type ImageClassifier, loadClassifier } from "../../engine/vision/image-classifier.ts";
import { assetsFolder, modelSource } from "../../engine/platform/model-source-node.ts";
import { readText, writeFileAtomic } from "../../engine/platform/node-files.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { describeChoice } from "../../engine/runtime/choice/kernel-table.ts";
import { readResult, writeResult } from "./bench-file.ts";
import { pacingCommand } from "./bench-pacing.ts";
import { predictCommand } from "./bench-predict.ts";
import { type Context, action } from "../context.ts";
import { EXIT } from "../errors.ts";
import { openModel } from "../model.ts";
import { finiteNumber, someText, wholeNumber } from "../options.ts";
import { requireWritableFile } from "../output.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { VERSION } from "../../engine/run/version.ts";
import { profilerOf } from "../../engine/runtime/profile/profiler.ts";
import { webgpuVersion } from "./webgpu-version.ts";

interface BenchFlags {
  readonly model?: readonly string[];
  readonly size?: readonly number[];
  readonly batch: readonly number[];
  readonly tokens: number;
  readonly filter?: string;
  readonly quick?: boolean;
  readonly samples?: number;
  readonly seconds?: number;
  readonly peers?: string;
  readonly torch?: string;
  readonly cold?: boolean;
  readonly result?: string;
  readonly save: boolean;
}

const RESULTS = join("bench", "results");

/** Drivers' caches of compiled shaders, off: Mesa's, NVIDIA's and AMD's names for it. Read when the driver is loaded. */
const NO_CACHE: Readonly<Record<string, string>> = {
  MESA_SHADER_CACHE_DISABLE: "true",
  __GL_SHADER_DISK_CACHE: "0",
  AMD_SHADER_DISK_CACHE: "0",
};

export function benchCommand(program: Command): void {
  const bench = program
    .command("bench")
    .description("measure kernels and models on this adapter, against its own peaks and against other engines")
    .argument("[suites...]", `which of ${SUITES.join(", ")} (default: ops and unet)`)
    .option(
      "--model <models>",
      "models, separated by commas: emoji, synthetic:sd14 (real shapes, made-up weights), a folder (default: emoji; the ops suite: " +
        "emoji and synthetic:sd14)",
      names,
    )
    .option(
      "--size <sizes>",
      "latent sizes, separated by commas (default: the model's own; for SD 1.4 on a software adapter 32 in ops, else 16)",
      sizes,
    )
    .option("--batch <sizes>", "batch sizes of the unet suite, separated by commas; the gradient is measured at the first", sizes, [1, 2])
    .option("--tokens <n>", "adversarial tokens of the attack suite", wholeNumber(1, 64), 5)
    .option("--filter <text>", "only what contains TEXT in its name", someText)
    .option("--quick", "a smoke test of seconds: one small case for each kind of op, three samples; not saved unless --result names a file")
    .option("--samples <n>", "samples wanted of each measurement (default: 9)", wholeNumber(2, 1000))
    .option(
      "--seconds <s>",
      "time for the samples of one measurement, all engines together (default: 1.5; with peers 6)",
      finiteNumber(0.01),
    )
    .option(
      "--peers <dir>",
      `run the ops suite also on the engines installed in DIR: npm install --prefix DIR ${PEER_PACKAGES.join(" ")} --ignore-scripts`,
    )
    .option(
      "--torch <file.json>",
      "print PyTorch's times for Stable Diffusion 1.4 at latents of 64 beside ours (bench/README.md says how the file looks)",
    )
    .option("--cold", "switch the driver's cache of compiled shaders off, so that first-run times are those of a fresh machine")
    .option("--result <file>", `where the result goes, gzipped if it ends in .gz (default: a new file in ${RESULTS})`)
    .option("--no-save", "write no result file")
    .action(action<BenchFlags>((flags, context, ...args) => run(flags, context, args[0] as unknown as readonly string[])));
  bench
    .command("compare")
    .description("what moved from one result file to another beyond noise")
    .argument("<a>", "the result before")
    .argument("<b>", "the result after")
    .option("--strict", "exit 1 if anything got slower or broke")
    .action(action<{ strict?: boolean }>((flags, context, a, b) => compare(context, a!, b!, flags.strict ?? false)));
  bench
    .command("chart")
    .description(
      "draw results as SVG: ops relative to the best WebGPU peer if peers took part, models relative to the adapter's peaks; a result " +
        "of the growth suite alone as curves",
    )
    .argument("<files...>", "result files of one adapter, drawn together")
    .requiredOption("--out <file.svg>", "where the chart goes")
    .action(action<{ out: string }>((flags, context, files) => chart(context, files as unknown as readonly string[], flags.out)));
  predictCommand(bench, sizes);
  pacingCommand(bench, sizes);
}

function names(text: string): readonly string[] {
  const list = text.split(",").map((s) => s.trim());
  if (list.includes("")) throw new InvalidArgumentError("Expected names separated by commas.");
  return list;
}

function sizes(text: string): readonly number[] {
  return text.split(",").map(wholeNumber(1, 4096));
}

function suitesOf(given: readonly string[]): readonly Suite[] {
  const wanted = given.flatMap((s) => s.split(","));
  if (wanted.length === 0) return ["ops", "unet"];
  return wanted.map((name) => {
    const suite = SUITES.find((s) => s === name);
    if (!suite) throw new UsageError(`no suite "${name}"; there are ${SUITES.join(", ")}`);
    return suite;
  });
}

async function run(flags: BenchFlags, context: Context, given: readonly string[]): Promise<number> {
  const { quick = false, cold = false } = flags;
  const suites = suitesOf(given);
  if (flags.result !== undefined) await requireWritableFile(flags.result);
  const torch = flags.torch === undefined ? undefined : parseTorch(flags.torch, await readText(flags.torch));
  if (cold) Object.assign(process.env, NO_CACHE);
  const settings: BenchSettings = {
    suites,
    models: flags.model ?? ["emoji"],
    sizes: flags.size,
    batches: quick ? flags.batch.slice(0, 1) : flags.batch,
    tokens: flags.tokens,
    filter: flags.filter,
    quick,
    samples: flags.samples ?? (quick ? 3 : 9),
    seconds: flags.seconds ?? (quick ? 0.2 : flags.peers === undefined ? 1.5 : 6),
    weights: context.options.weights ?? "f32",
  };
  const device = await context.device();
  const result = await context.withProgress("bench", async (progress) => {
    const peers = flags.peers === undefined ? [] : await loadPeers(flags.peers, device.info.name);
    for (const p of peers) progress.say(`peer ${p.name} ${p.version ?? ""}${"absent" in p ? `: absent, ${p.absent}` : ""}`);
    return runBench(
      // Without a choice of models the ops are those of both.
      flags.model === undefined && suites.includes("ops") ? { ...settings, opsModels: ["synthetic:sd14", "emoji"] } : settings,
      {
        device,
        profiler: profilerOf(device),
        peers,
        versions: { lethe: VERSION, webgpu: webgpuVersion() },
        root: dirname(assetsFolder()),
        facts: {
          cold,
          math: context.options.math ?? "f32",
          kernels: describeChoice(device.kernels),
          limits: context.options.limits ?? "adapter",
          bufferSharing: context.options.bufferSharing,
          robust: device.info.robust,
        },
        openModel: (name) => openModel(context, { model: name }),
        openJudge: (name) => judgeOf(device, name),
        onBegin: (name, fraction) => progress.update(fraction, name),
        onRow: (row) => progress.say(`  ${line(row)}`),
        signal: context.signal,
      },
    );
  });
  context.peak = result.peak;
  const file = flags.result ?? (quick || !flags.save ? undefined : resultFile(result));
  if (file !== undefined && flags.save) await writeResult(file, result);
  const beside = torch && besideTorch(result, torch);
  const parts = [
    resultText(result),
    ...(torch && beside ? [torchText(beside, torch)] : []),
    ...(file === undefined ? [] : [`result: ${file}`]),
  ];
  context.result(
    { ...result, ratios: summarizeRatios(ratiosToPeers(result)), ...(beside && { torch: beside }), file: file ?? null },
    parts.join("\n\n"),
  );
  return result.rows.some((r) => r.engine === "lethe" && r.error !== undefined) ? EXIT.failed : EXIT.done;
}

function line({ name, direction, engine, error, wrong, wall, rates, flops, growth }: BenchRow): string {
  const what = `${engine === "lethe" ? "" : `${engine}: `}${name}${direction === "forward" ? "" : " +grad"}`;
  if (error !== undefined) return `${what}: ${error}`;
  if (!wall) return `${what}: ${growth ? formatBytes(growth.bytes) : "no time"}`;
  if (wrong !== undefined) return `${what}: ${figures(wall.median)} ms, but its result differs from ours by ${wrong.toExponential(1)}`;
  return `${what}: ${figures(wall.median)} ms${rates && flops > 0 ? `, ${figures(rates.gflops)} GFLOP/s` : ""}`;
}

/** The bundled model has a judge beside it; others would need one to be named, which tells nothing about the model's own speed. */
async function judgeOf(device: Device, model: string): Promise<ImageClassifier | undefined> {
  return model === "emoji" ? loadClassifier(device, modelSource("emoji/classifier/object")) : undefined;
}

/** bench/results/2026-01-31T12-00-00-llvmpipe-1a2b3c4d5e6f.json */
function resultFile({ stamp }: BenchResult): string {
  const adapter = stamp.adapter.description
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .slice(0, 3)
    .join("-");
  return join(
    RESULTS,
    `${stamp.date.slice(0, 19).replaceAll(":", "-")}-${adapter}-` +
      `${(stamp.commit ?? `v${stamp.versions.lethe}`).replace("+", "-changed")}.json`,
  );
}

async function compare(context: Context, a: string, b: string, strict: boolean): Promise<number> {
  const [before, after] = [await readResult(a), await readResult(b)];
  const report: ComparisonReport = compareResults(before, after);
  const worse = report.comparisons.filter((c) => c.b?.engine === "lethe" && (c.verdict === "slower" || c.verdict === "broken"));
  context.result(
    {
      a,
      b,
      warnings: report.warnings,
      meanRatio: report.meanRatio ?? null,
      comparisons: report.comparisons.map(({ key, verdict, ratio, noise }) => ({
        key,
        verdict,
        ratio: ratio ?? null,
        noise: noise ?? null,
      })),
    },
    comparisonText(report),
  );
  return strict && worse.length > 0 ? EXIT.failed : EXIT.done;
}

async function chart(context: Context, files: readonly string[], out: string): Promise<void> {
  await requireWritableFile(out);
  const results: BenchResult[] = [];
  for (const file of files) results.push(await readResult(file));
  const result = mergeResults(results, files);
  await writeFileAtomic(out, result.rows.every((r) => r.growth) ? growthChartSvg(result) : chartSvg(result));
  context.result({ files, out }, out);
}
