import type { ImageClassifier } from "../engine/vision/image-classifier.ts";
import type { WeightPrecision } from "../engine/nn/weight-layout.ts";
import type { StableDiffusion } from "../engine/diffusion/stable-diffusion.ts";
import type { Device } from "../engine/runtime/device.ts";
import { UsageError } from "../engine/runtime/errors.ts";
import type { Profiler } from "../engine/runtime/profile/profiler.ts";
import { EMOJI_CASES, type OpCase, QUICK_CASES, sd14Cases } from "./ops/cases.ts";
import type { MeasureOptions } from "./measure.ts";
import { measurePeak } from "./peak.ts";
import { type AbsentPeer, type Peer } from "./peers/peer.ts";
import { basisOf } from "./rates.ts";
import type { BenchResult, BenchRow, Stamp } from "./results.ts";
import { stamp } from "./stamp.ts";
import { runAttack } from "./suites/attack.ts";
import { GROWTH_POINTS, runGrowth } from "./suites/growth.ts";
import { runOps } from "./suites/ops.ts";
import { runUNet } from "./suites/unet.ts";
import { runVae } from "./suites/vae.ts";
import type { Bench } from "./task.ts";

export const SUITES = ["ops", "unet", "vae", "attack", "growth"] as const;
export type Suite = (typeof SUITES)[number];

export interface BenchSettings {
  readonly suites: readonly Suite[];
  /** As on the command line: emoji, synthetic:sd14, a folder. */
  readonly models: readonly string[];
  /** Whose shapes the ops suite takes, if others. */
  readonly opsModels?: readonly string[];
  /** Latent sizes; undefined: the model's own, or on a software adapter the largest that takes no minutes. */
  readonly sizes?: readonly number[] | undefined;
  readonly batches: readonly number[];
  /** Adversarial tokens of the attack suite. */
  readonly tokens: number;
  /** Only rows whose name contains this. */
  readonly filter?: string | undefined;
  /** A smoke test: few cases, few samples. */
  readonly quick: boolean;
  /** Samples wanted of each measurement. */
  readonly samples: number;
  /** Seconds for the samples of one measurement, of all engines together. */
  readonly seconds: number;
  readonly weights: WeightPrecision;
}

export interface BenchEnvironment {
  readonly device: Device;
  readonly profiler: Profiler | undefined;
  readonly peers: readonly (Peer | AbsentPeer)[];
  readonly versions: { readonly lethe: string; readonly webgpu: string };
  /** The checkout's folder. */
  readonly root: string;
  /** Further facts for the stamp, such as whether driver caches were off. */
  readonly facts: Stamp["options"];
  readonly openModel: (name: string) => Promise<StableDiffusion>;
  /** The judge that goes with a model, if there is one. */
  readonly openJudge: (model: string) => Promise<ImageClassifier | undefined>;
  /** @param fraction of all that is to be measured, by count */
  readonly onBegin: (name: string, fraction: number) => void;
  readonly onRow: (row: BenchRow) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Models that have cases in the ops suite. */
const OPS_OF: Readonly<Record<string, (size: number) => readonly OpCase[]>> = { emoji: () => EMOJI_CASES, "synthetic:sd14": sd14Cases };

/** Latent sizes of SD 1.4 where none are given: its own takes a software adapter minutes. */
const SOFTWARE_SIZE = { ops: 32, model: 16 } as const;

/**
 * Measures the adapter's peaks, then every suite for every model.
 * @throws UsageError for settings that select nothing; NoAdapterError and whatever loading a model throws; the reason of an abort. What
 * fails while being measured is a row with an error.
 */
export async function runBench(settings: BenchSettings, environment: BenchEnvironment): Promise<BenchResult> {
  const { device, signal, profiler } = environment;
  const { software } = device.info;
  const basis = basisOf(software);
  const measure: MeasureOptions = {
    samples: settings.samples,
    sampleMs: settings.quick ? 2 : 20,
    warmMs: software ? 0 : 300,
    budgetMs: settings.seconds * 1000,
    signal,
  };
  const header = await stamp(device, environment.versions, { ...plain(settings), ...environment.facts }, environment.root);
  const filter = settings.filter?.toLowerCase();
  const wants = (name: string): boolean => filter === undefined || name.toLowerCase().includes(filter);
  const cases = settings.suites.includes("ops") ? opCases(settings, software).filter((c) => wants(c.name)) : [];
  const total = Math.max(1, countRows(settings, cases.length));
  let begun = 0;
  environment.onBegin("the adapter's peaks", 0);
  profiler?.stop(); // runs are profiled apart from those that are measured
  const peak = await measurePeak(device, basis, { ...measure, samples: Math.max(3, measure.samples) });
  const rows: BenchRow[] = [];
  const bench: Bench = {
    device,
    basis,
    peak,
    measure,
    profiler,
    wants,
    begin: (name) => environment.onBegin(name, Math.min(1, begun++ / total)),
    add(row) {
      rows.push(row);
      environment.onRow(row);
    },
  };
  const here = environment.peers.filter((p): p is Peer => "prepare" in p);
  await runOps(bench, cases, here, settings.weights);
  for (const name of settings.models) {
    const suites = settings.suites.filter((s) => s !== "ops");
    if (suites.length === 0) break;
    environment.onBegin(`opening ${name}`, Math.min(1, begun / total));
    const model = await environment.openModel(name);
    const judge = suites.includes("attack") ? await environment.openJudge(name) : undefined;
    try {
      const own = model.parts.unet.config.sampleSize;
      const sizes = settings.sizes ?? [software ? Math.min(own, SOFTWARE_SIZE.model) : own];
      for (const suite of suites) {
        if (suite === "unet") await runUNet(bench, { name, model }, sizes, settings.batches);
        if (suite === "vae") await runVae(bench, { name, model }, sizes);
        if (suite === "attack") await runAttack(bench, { name, model }, sizes, settings.tokens, judge);
        if (suite === "growth") await runGrowth(bench, { name, model }, environment.openModel, settings.quick);
      }
    } finally {
      await judge?.destroy();
      await model.destroy();
    }
  }
  if (rows.length === 0) {
    throw new UsageError(
      settings.filter === undefined
        ? "nothing to measure: the ops suite has cases for emoji and synthetic:sd14 only"
        : `no row's name contains "${settings.filter}"`,
    );
  }
  const peers = environment.peers.map((p) => ({
    name: p.name,
    version: p.version,
    webgpu: p.webgpu,
    gradients: "gradients" in p && p.gradients,
    absent: "absent" in p ? p.absent : null,
  }));
  return { format: "lethe-bench", version: 1, stamp: header, basis, peak, peers, rows };
}

/** About how many measurements there will be, for the progress bar. */
function countRows({ suites, models, sizes, batches }: BenchSettings, cases: number): number {
  const size = sizes?.length ?? 1;
  const growth =
    4 * GROWTH_POINTS["latent size"].length +
    4 * GROWTH_POINTS.batch.length +
    3 * GROWTH_POINTS["tokens k"].length +
    2 * GROWTH_POINTS.vocabulary.length;
  const of: Readonly<Record<Suite, number>> = { ops: 0, unet: size * (batches.length + 1), vae: 2 * size, attack: 4 + 4 * size, growth };
  return 2 * cases + models.length * suites.reduce((n, s) => n + of[s], 0);
}

function opCases(settings: BenchSettings, software: boolean): readonly OpCase[] {
  if (settings.quick) return QUICK_CASES;
  const sizes = settings.sizes ?? [software ? SOFTWARE_SIZE.ops : 64];
  const cases = (settings.opsModels ?? settings.models).flatMap((m) => sizes.flatMap((size) => OPS_OF[m]?.(size) ?? []));
  // The bundled model's cases are the same at every size, and so are a few of the larger model's.
  return cases.filter((c, i) => cases.findIndex((d) => d.name === c.name && d.model === c.model) === i);
}

function plain(settings: BenchSettings): Stamp["options"] {
  const { models, opsModels = models, sizes, batches, filter = null } = settings;
  return { ...settings, opsModels, sizes: sizes?.map(String) ?? null, batches: batches.map(String), filter };
}
