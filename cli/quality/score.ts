import { joinPath } from "../../engine/formats/file-system.ts";
import type { Store } from "../../engine/formats/store.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { ClipScorer } from "../../engine/metrics/clip-score.ts";
import { readStatistics } from "../../engine/metrics/distance/statistics-file.ts";
import type { FeatureNetwork } from "../../engine/metrics/feature-network.ts";
import { openFeatureNetwork } from "../../engine/metrics/open-network.ts";
import { type Caption, parseCaptions } from "../../engine/metrics/quality/captions.ts";
import { FEATURE_OPTIONS, QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import type { PictureFile, QualityEvent, QualityOptions } from "../../engine/metrics/quality/kinds.ts";
import { quality } from "../../engine/metrics/quality/run.ts";
import type { RecipeName } from "../../engine/metrics/recipes.ts";
import { asFlags } from "../../engine/options/flags.ts";
import type { Given } from "../../engine/options/option.ts";
import { filledIn, pick } from "../../engine/options/values.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, readBytes, readText, sha256File } from "../../engine/platform/node-files.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { MODEL_OPTIONS, type ModelFlags, type ModelOptions, givenModelFlags } from "../../engine/run/settings/model-options.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import { VERSION } from "../../engine/run/version.ts";
import { loadClip } from "../../engine/vision/clip.ts";
import { type Context, globalFlags } from "../context.ts";
import { openModel } from "../model.ts";
import { resolveModel, resolveWeights } from "../model-source.ts";
import type { Progress } from "../terminal/progress.ts";
import { type QualityRecord, claim, newRecord } from "./record.ts";
import { resultJson, writeResult } from "./result.ts";
import { FormatError, quote } from "../../engine/formats/errors.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import { UsageError } from "../../engine/runtime/errors.ts";

/** What is scored, and how: files by their names. */
export interface ScoreFlags extends ModelFlags, Given<typeof QUALITY_OPTIONS> {
  readonly model?: string | undefined;
  readonly captions?: string | undefined;
  readonly images?: string | undefined;
  readonly real?: string | undefined;
  readonly statistics?: string | undefined;
  readonly inception?: string | undefined;
  readonly clip?: string | undefined;
}

/** Refuses flags that do not go together. @throws UsageError */
export function checkFlags(flags: ScoreFlags): void {
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
    throw new UsageError("required option '--inception <file>' not specified: distances are measured between a network's features");
  }
  if (clip !== undefined && captions === undefined) {
    throw new UsageError("--clip scores pictures by their captions: give --captions FILE.csv too");
  }
  if (inception === undefined && clip === undefined) {
    throw new UsageError(
      "nothing to score with: give --inception with --real or --statistics for FID and KID, --inception alone for statistics.npz, --clip " +
        "for the CLIP score",
    );
  }
}

/** What is scored, read and named, before a device is opened. */
export interface Inputs {
  readonly captions: readonly Caption[] | undefined;
  readonly images: readonly PictureFile[] | undefined;
  readonly real: QualityOptions["real"];
}

/** @throws FormatError for captions, folders or statistics that cannot be used */
export async function readInputs({ captions, images, real, statistics }: ScoreFlags, context: Context): Promise<Inputs> {
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

/** The networks of a run, which runs of several models share. */
export class Scorers {
  private constructor(
    readonly network: FeatureNetwork | undefined,
    readonly clip: ClipScorer | undefined,
  ) {}

  /** @throws FormatError or InputError naming the file; NoAdapterError */
  static async open(flags: ScoreFlags, context: Context): Promise<Scorers> {
    const { recipe, dims } = filledIn(QUALITY_OPTIONS, pick(QUALITY_OPTIONS, { ...flags }));
    const device = await context.device();
    const network = flags.inception === undefined ? undefined : await openFeatureNetwork(
      device,
      { files: nodeFiles, path: await resolveWeights(flags.inception, context), name: flags.inception },
      { recipe: recipe as RecipeName, dims: Number(dims), weights: context.options.weights },
    );
    try {
      const clip = flags.clip === undefined ? undefined : await loadClip(device, await resolveModel(flags.clip, context));
      return new Scorers(network, clip && new ClipScorer(clip));
    } catch (error) {
      await network?.destroy();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.network?.destroy();
    await this.clip?.destroy();
  }
}

/** Where a run is kept, and which part of it is made. */
export interface ScorePlace {
  readonly store: Store;
  readonly realStore?: Store | undefined;
  readonly shard: Shard | undefined;
  readonly resume?: boolean | undefined;
  readonly overwrite?: boolean | undefined;
}

export interface Scored {
  readonly record: QualityRecord;
  readonly result: Awaited<ReturnType<typeof quality>>;
  readonly json: Readonly<Record<string, unknown>>;
}

/**
 * Draws captions, or takes pictures, and scores them into a folder, which is claimed for this run.
 * @throws UsageError for a folder with another run; FormatError, InputError, AbortError
 */
export async function score(
  flags: ScoreFlags,
  context: Context,
  { inputs, scorers, place }: { readonly inputs: Inputs; readonly scorers: Scorers; readonly place: ScorePlace },
): Promise<Scored> {
  const started = performance.now();
  const { store, realStore, shard } = place;
  const { network, clip } = scorers;
  const record = await recordOf(flags, context, { inputs, network, shard });
  await claim(store, record, place, inputs.images ? [] : (inputs.captions ?? []).map((c) => c.file));
  const model: StableDiffusion | null = flags.model === undefined ? null : await openModel(context, flags as ModelOptions);
  try {
    const options: QualityOptions = {
      ...pick(QUALITY_OPTIONS, { ...flags }), ...inputs, network, clip, store, realStore, shard, signal: context.signal,
    };
    const result = await context.withProgress(model ? "drawing" : "scoring", (progress) =>
      quality(model, options, progressOf(progress, context)),
    );
    const device = await context.device();
    const seconds = (performance.now() - started) / 1000;
    const json = { ...resultJson(record, result, store), seconds, adapter: device.description, peakBytes: device.usage.peakBytes };
    await writeResult(context, store, json, result);
    return { record, result, json };
  } finally {
    await model?.destroy();
  }
}

async function recordOf(
  flags: ScoreFlags,
  context: Context,
  of: { readonly inputs: Inputs; readonly network: FeatureNetwork | undefined; readonly shard: Shard | undefined },
): Promise<QualityRecord> {
  const { inputs, network, shard } = of;
  const settings: Readonly<Record<string, unknown>> = filledIn(QUALITY_OPTIONS, pick(QUALITY_OPTIONS, { ...flags }));
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
function commandOf(flags: ScoreFlags, context: Context): string {
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

/** Turns events into a bar: the share of the pictures that are done. */
function progressOf(progress: Pick<Progress, "update">, context: Context): (event: QualityEvent) => void {
  let [done, total, note] = [0, 1, ""];
  const show = (part: number, text: string): void => progress.update((done + part) / Math.max(1, total), text);
  return (event) => {
    if (event.type === "begin") {
      [done, total, note] = [event.done, event.total, event.set];
      if (event.done > 0) context.say(`${event.done} of ${event.total} ${event.set} pictures are done already`);
    } else if (event.type === "picture") {
      done = event.done;
      show(0, `${note} ${done}/${total}`);
    } else if (event.type === "step") show(event.step / event.steps, `${note} ${done}/${total}  step ${event.step}/${event.steps}`);
    else if (event.type === "unreadable") context.warn(`passed over: ${event.reason}`);
    else progress.update(event.done / event.total, `${event.what} ${event.done}/${event.total}`);
  };
}

/** Endings that the benchmark takes for pictures, in small letters only. Source: T2IBenchmark loaders.py:144-153 */
const ENDINGS = ["bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp"];

/**
 * The pictures in a folder and those below it, as T2IBenchmark finds them. EXIF's orientation does not count, as it does not there.
 * @param warn told of pictures that the benchmark passes over, since their endings are in capitals
 * @throws FormatError for a folder that is not there or holds no picture
 */
async function picturesIn(name: string, warn: (warning: string) => void): Promise<PictureFile[]> {
  const folder = resolvePath(name);
  const found: string[] = [];
  const walk = async (below: string): Promise<void> => {
    for (const entry of await nodeFiles.list(below === "" ? folder : joinPath(folder, below))) {
      if (entry.endsWith("/")) await walk(joinPath(below, entry.slice(0, -1)));
      else found.push(joinPath(below, entry));
    }
  };
  await walk("");
  const ending = (file: string): string => file.slice(file.lastIndexOf(".") + 1);
  const pictures = found.filter((file) => ENDINGS.includes(ending(file)));
  const capitals = found.filter((file) => !ENDINGS.includes(ending(file)) && ENDINGS.includes(ending(file).toLowerCase()));
  if (capitals.length > 0) {
    warn(
      `${name}: ${capitals.length} pictures such as ${quote(capitals[0]!)} are passed over, as the benchmark does for endings in capitals`,
    );
  }
  if (pictures.length === 0) throw new FormatError(folder, "holds no picture (.png, .jpg, .webp ...), nor does a folder in it");
  return pictures.map((file) => {
    const path = joinPath(folder, file);
    return { name: file, read: async () => decodePicture(path, await readBytes(path), { turned: false }) };
  });
}
