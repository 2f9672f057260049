import { join } from "node:path";
import { joinPath } from "../../engine/formats/file-system.ts";
import { ClipScorer } from "../../engine/metrics/clip-score.ts";
import type { FeatureNetwork } from "../../engine/metrics/feature-network.ts";
import { openFeatureNetwork } from "../../engine/metrics/open-network.ts";
import { type Caption, parseCaptions } from "../../engine/metrics/quality/captions.ts";
import { FEATURE_OPTIONS, QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import { type PictureFile, type QualityEvent, type QualityOptions, quality } from "../../engine/metrics/quality/run.ts";
import type { RecipeName } from "../../engine/metrics/recipes.ts";
import { readStatistics } from "../../engine/metrics/distance/statistics-file.ts";
import type { Given } from "../../engine/options/option.ts";
import { asFlags } from "../../engine/options/flags.ts";
import { filledIn, pick } from "../../engine/options/values.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, readText, sha256File } from "../../engine/platform/node-files.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { MODEL_OPTIONS, type ModelFlags, type ModelOptions, givenModelFlags } from "../../engine/run/settings/model-options.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import { VERSION } from "../../engine/run/version.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { loadClip } from "../../engine/vision/clip.ts";
import { type Context, globalFlags } from "../context.ts";
import { withLock } from "../evaluate/lock.ts";
import { shardFolder, shardOfEnvironment } from "../evaluate/shard.ts";
import { openModel } from "../model.ts";
import type { Progress } from "../terminal/progress.ts";
import { resolveModel, resolveWeights } from "../model-source.ts";
import { requireWritableFolder } from "../output.ts";
import { picturesIn } from "./pictures.ts";
import { type QualityRecord, claim, newRecord } from "./record.ts";
import { resultJson, resultText, writeResult } from "./result.ts";

export interface QualityFlags extends ModelFlags, Given<typeof QUALITY_OPTIONS> {
  readonly model?: string;
  readonly captions?: string;
  readonly images?: string;
  readonly real?: string;
  readonly statistics?: string;
  readonly inception?: string;
  readonly clip?: string;
  readonly shard?: Shard;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly out: string;
}

/** Refuses flags that do not go together. @throws UsageError */
export function checkFlags(flags: QualityFlags): void {
  const { model, captions, images, real, statistics, inception, clip } = flags;
  if ((model === undefined) === (images === undefined)) {
    throw new UsageError("give either --model, which draws --captions, or --images DIR, pictures that are there");
  }
  if (model !== undefined && captions === undefined) {
    throw new UsageError("required option '--captions <file.csv>' not specified: what should be drawn?");
  }
  if (images !== undefined && Object.keys(pick(MODEL_OPTIONS, { ...flags })).length > 0) {
    throw new UsageError("--images are there already: nothing can be laid over a model");
  }
  if (real !== undefined && statistics !== undefined) throw new UsageError("give either --real DIR or --statistics FILE.npz, not both");
  const compared = real !== undefined || statistics !== undefined;
  if (compared && inception === undefined) {
    throw new UsageError("required option '--inception <file>' not specified: distances are of a network's features");
  }
  if (inception !== undefined && !compared) throw new UsageError("--inception needs --real DIR or --statistics FILE.npz to compare with");
  if (clip !== undefined && captions === undefined) {
    throw new UsageError("--clip scores pictures by their captions: give --captions FILE.csv too");
  }
  if (!compared && clip === undefined) {
    throw new UsageError(
      "nothing to score with: give --inception with --real or --statistics for FID and KID, --clip for the CLIP score, or both",
    );
  }
}

/** What is scored, read and named, before a device is opened. */
interface Inputs {
  readonly captions: readonly Caption[] | undefined;
  readonly images: readonly PictureFile[] | undefined;
  readonly real: QualityOptions["real"];
}

async function readInputs(flags: QualityFlags, context: Context): Promise<Inputs> {
  const { captions, images, real, statistics } = flags;
  const warn = (warning: string): void => context.warn(warning);
  const table = captions === undefined ? undefined : resolvePath(captions);
  return {
    captions: table === undefined ? undefined : parseCaptions(table, await readText(table)),
    images: images === undefined ? undefined : await picturesIn(images, warn),
    real:
      real !== undefined
        ? await picturesIn(real, warn)
        : statistics !== undefined
          ? { name: statistics, statistics: await readStatistics(nodeFiles, resolvePath(statistics)) }
          : undefined,
  };
}

/** Runs the command. @throws UsageError, FormatError, InputError, NoAdapterError, AbortError */
export async function runQuality(flags: QualityFlags, context: Context): Promise<void> {
  checkFlags(flags);
  const started = performance.now();
  const settings = filledIn(QUALITY_OPTIONS, pick(QUALITY_OPTIONS, { ...flags }));
  const shard = flags.shard ?? shardOfEnvironment(process.env);
  const out = shard ? join(flags.out, shardFolder(shard)) : flags.out;
  await requireWritableFolder(out);
  const inputs = await readInputs(flags, context);
  const device = await context.device();
  const network = await openNetwork(flags, context, settings.recipe as RecipeName, Number(settings.dims));
  const store = folderStore(out);
  try {
    await withLock(out, (line) => context.say(line), async () => {
      const record = await recordOf(flags, context, { inputs, network, settings, shard });
      await claim(store, record, flags, inputs.images ? [] : (inputs.captions ?? []).map((c) => c.file));
      const model = flags.model === undefined ? null : await openModel(context, flags as ModelOptions);
      const clip = flags.clip === undefined ? undefined : new ClipScorer(await loadClip(device, await resolveModel(flags.clip, context)));
      const options: QualityOptions = {
        ...settingsGiven(flags), ...inputs, ...(network && { network }), ...(clip && { clip }), store, shard, signal: context.signal,
      };
      const result = await context.withProgress(model ? "drawing" : "scoring", (progress) => {
        const show = progressOf(progress, context);
        return quality(model, options, show);
      });
      const seconds = (performance.now() - started) / 1000;
      const json = { ...resultJson(record, result, store), seconds, adapter: device.description, peakBytes: device.usage.peakBytes };
      await writeResult(context, store, json, result);
      const peak = formatBytes(device.usage.peakBytes);
      context.say(`${formatDuration(seconds)} on ${device.description}; peak device memory ${peak}; all is in ${out}`);
      context.result({ ...json, out }, resultText(record, result));
    });
  } finally {
    await network?.destroy();
  }
}

function settingsGiven(flags: QualityFlags): Given<typeof QUALITY_OPTIONS> {
  return pick(QUALITY_OPTIONS, { ...flags });
}

async function openNetwork(flags: QualityFlags, context: Context, recipe: RecipeName, dims: number): Promise<FeatureNetwork | undefined> {
  const { inception } = flags;
  if (inception === undefined) return undefined;
  const path = await resolveWeights(inception, context);
  const source = { files: nodeFiles, path, name: inception };
  return openFeatureNetwork(await context.device(), source, { recipe, dims, weights: context.options.weights });
}

async function recordOf(
  flags: QualityFlags,
  context: Context,
  of: {
    readonly inputs: Inputs;
    readonly network: FeatureNetwork | undefined;
    readonly settings: Readonly<Record<string, unknown>>;
    readonly shard: Shard | undefined;
  },
): Promise<QualityRecord> {
  const { inputs, network, settings, shard } = of;
  const { captions, images, real } = inputs;
  const count = typeof settings["count"] === "number" ? settings["count"] : Infinity;
  const names = (files: readonly PictureFile[]): string[] => files.map((file) => file.name);
  const realFiles = Array.isArray(real) ? names(real as readonly PictureFile[]) : undefined;
  const classifier = network?.distanceName === "Frechet distance";
  const { model, unet, textEncoder, lora, statistics, inception, clip } = flags;
  const inputsShown = { captions: flags.captions, images: flags.images, real: flags.real, statistics, inception, clip };
  const shown = { model, ...givenModelFlags(flags as ModelOptions), ...inputsShown };
  const decides = {
    features: pick(FEATURE_OPTIONS, settings),
    device: { weights: context.options.weights ?? "f32", math: context.options.math ?? "f32" },
    model: [model, unet, textEncoder, lora],
    captions,
    images: images && names(images),
    real: realFiles ?? statistics,
    network: network?.name,
    weights: inception === undefined ? undefined : await hashOf(await resolveWeights(inception, context)),
    clip,
  };
  return newRecord(
    {
      lethe: VERSION,
      command: commandOf(flags, context),
      settings: { ...settings, ...shown },
      network: network
        ? {
            name: network.name, dims: network.dims, distanceName: network.distanceName, meanPrecision: network.meanPrecision,
            recipe: classifier ? null : String(settings["recipe"]),
          }
        : null,
      total: {
        generated: Math.min(count, captions?.length ?? images?.length ?? 0),
        real: realFiles ? Math.min(count, realFiles.length) : null,
      },
      statistics: statistics ?? null,
      shard: shard ?? null,
    },
    decides,
  );
}

/** Of a file, or of a folder's configuration. */
async function hashOf(path: string): Promise<string> {
  return sha256File((await nodeFiles.kind(path)) === "folder" ? joinPath(path, "config.json") : path);
}

/** The command that makes the run again. */
function commandOf(flags: QualityFlags, context: Context): string {
  const { model, captions, images, real, statistics, inception, clip } = flags;
  const named = Object.entries({ model, captions, images, real, statistics, inception, clip });
  return shellCommand([
    "npx", "lethe", "quality",
    ...named.flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value])),
    ...asFlags(MODEL_OPTIONS, { ...flags }),
    ...asFlags(QUALITY_OPTIONS, { ...flags }),
    ...globalFlags(context.options),
    "--out", "again",
  ]);
}

/** Turns events into a bar: the share of the pictures that are done, and the time that the rest will take. */
function progressOf(progress: Pick<Progress, "update">, context: Context): (event: QualityEvent) => void {
  let [before, began, done, total, note] = [0, performance.now(), 0, 1, ""];
  const show = (part: number, text: string): void => {
    const made = done - before + part;
    const each = made > 0 ? (performance.now() - began) / 1000 / made : Number.NaN;
    progress.update((done + part) / Math.max(1, total), text, each * (total - done - part));
  };
  return (event) => {
    if (event.type === "begin") {
      [before, began, done, total, note] = [event.done, performance.now(), event.done, event.total, event.set];
      if (event.done > 0) context.say(`${event.done} of ${event.total} ${event.set} pictures are done already`);
    } else if (event.type === "picture") {
      done = event.done;
      show(0, `${note} ${done}/${total}`);
    } else if (event.type === "step") show(event.step / event.steps, `${note} ${done}/${total}  step ${event.step}/${event.steps}`);
    else if (event.type === "unreadable") context.warn(`passed over: ${event.reason}`);
    else progress.update(event.done / event.total, `${event.what} ${event.done}/${event.total}`);
  };
}


