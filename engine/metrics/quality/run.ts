import type { SchedulerName } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { FormatError } from "../../formats/errors.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { decodePng, encodePng } from "../../platform/picture/png.ts";
import { type Store, memoryStore } from "../../formats/store.ts";
import type { Given, Values } from "../../options/option.ts";
import { filledIn } from "../../options/values.ts";
import { InputError, UsageError } from "../../runtime/errors.ts";
import type { Caption } from "./captions.ts";
import { type ClipScorer, clipScore } from "../clip-score.ts";
import { CaptionPainter } from "./draw.ts";
import type { FeatureNetwork } from "../feature-network.ts";
import { type LoggedPicture, featureLine, featureRows, readFeatureLog } from "./feature-log.ts";
import { QUALITY_OPTIONS } from "./option-table.ts";
import { type Distances, type KnownSet, distancesOf } from "../distance/scores.ts";
import { type Statistics, statisticsOf } from "../distance/statistics.ts";
import { writeStatistics } from "../distance/statistics-file.ts";

/** A picture that is there already. */
export interface PictureFile {
  /** By which it is known: its path below its folder. */
  readonly name: string;
  /** @throws FormatError for one that cannot be read */
  read(): Promise<RgbImage>;
}

export interface QualityOptions extends Given<typeof QUALITY_OPTIONS> {
  /** What is drawn, or what the pictures show. */
  readonly captions?: readonly Caption[] | undefined;
  /** Pictures to score instead of drawing some; with captions those of the captions' names only. */
  readonly images?: readonly PictureFile[] | undefined;
  /** What the pictures are compared with: pictures, or statistics of the same recipe. */
  readonly real?: readonly PictureFile[] | { readonly name: string; readonly statistics: Statistics } | undefined;
  /** What the comparison is made with. Without `real` it makes statistics of the pictures, to compare others with. */
  readonly network?: FeatureNetwork | undefined;
  /** Scores pictures by their captions. */
  readonly clip?: ClipScorer | undefined;
  /** Where pictures, features and statistics are kept, and from where a run goes on. Default: nowhere. */
  readonly store?: Store | undefined;
  /** Where the features of the real pictures are kept, which runs of several models share. Default: `store`. */
  readonly realStore?: Store | undefined;
  /** Only every `count`th picture, from the `index`th (from 1): no scores, which come when all parts are merged. */
  readonly shard?: { readonly index: number; readonly count: number } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type SetName = "generated" | "real";

export type QualityEvent =
  | { readonly type: "begin"; readonly set: SetName; readonly total: number; readonly done: number }
  | { readonly type: "step"; readonly step: number; readonly steps: number }
  | { readonly type: "picture"; readonly set: SetName; readonly name: string; readonly done: number; readonly total: number }
  | { readonly type: "unreadable"; readonly set: SetName; readonly name: string; readonly reason: string }
  | { readonly type: "score"; readonly what: "KID" | "bootstrap"; readonly done: number; readonly total: number };

export interface QualityResult {
  /** Generated pictures that were scored. */
  readonly count: number;
  readonly realCount: number | null;
  /** Pictures that were passed over. */
  readonly unreadable: number;
  /** null for a shard, and without `network` or `real`. */
  readonly distances: Distances | null;
  /** The benchmark's CLIP score; null without captions and CLIP. */
  readonly clipScore: number | null;
  /** Logits by picture. */
  readonly captionScores: ReadonlyMap<string, number>;
}

/** Files of a run, below its store. */
export const QUALITY_FILES = {
  logs: { generated: "generated.jsonl", real: "real.jsonl" },
  statistics: "statistics.npz",
  picture: (name: string): string => `pictures/${name}`,
} as const;

/** Pictures that go through the network at once: always so many, so that no picture's features hang on which others are beside it. */
const FEATURE_BATCH = 8;

/** A picture to be had: from its file, or drawn. */
type Item = { readonly name: string; readonly caption?: Caption | undefined; readonly file?: PictureFile | undefined };

/**
 * Draws captions, or takes pictures that are there, and scores them: Frechet and kernel distance to real pictures, and CLIP score.
 * A run with a store goes on after its last picture.
 * @param model what draws; null where pictures are given
 * @throws UsageError for options that do not go together; FormatError for a picture that cannot be read; InputError for sets that cannot be
 * compared; AbortError
 */
export async function quality(
  model: StableDiffusion | null,
  options: QualityOptions,
  onEvent: (event: QualityEvent) => void | Promise<void> = () => undefined,
): Promise<QualityResult> {
  const { network, clip, real, shard, captions } = options;
  const settings = filledIn(QUALITY_OPTIONS, options);
  const items = itemsOf(model, options, settings.count);
  if (real && !network) throw new UsageError("real pictures are compared by a network's features: give one");
  if (clip && !captions) throw new UsageError("CLIP scores pictures by their captions: give those too");
  if (!network && !clip) throw new UsageError("there is nothing to score with: give a network, or CLIP and captions");
  const run = new QualityRun(model, { ...options, store: options.store ?? memoryStore() }, settings, onEvent);
  const mine = (all: readonly Item[]): Item[] => all.filter((_, i) => !shard || i % shard.count === shard.index - 1);
  const generated = await run.take("generated", mine(items));
  const realPictures = isPictures(real) ? await run.take("real", mine(limited(sorted(real), settings.count))) : undefined;
  if (shard) return withoutDistances(generated, realPictures);
  return scored(options, { generated, real: realPictures ?? new Map() }, onEvent);
}

function isPictures(real: QualityOptions["real"]): real is readonly PictureFile[] {
  return Array.isArray(real);
}

function sorted(files: readonly PictureFile[]): Item[] {
  return files.map((file) => ({ name: file.name, file })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function limited<T>(items: readonly T[], count: number | null): readonly T[] {
  return count === null ? items : items.slice(0, count);
}

/** @throws UsageError, or FormatError for captions without pictures */
function itemsOf(model: StableDiffusion | null, { captions, images }: QualityOptions, count: number | null): readonly Item[] {
  if ((model === null) === (images === undefined)) throw new UsageError("either a model draws the pictures or they are given");
  if (!images) {
    if (!captions) throw new UsageError("what should be drawn? Captions are needed");
    return limited(captions.map((caption) => ({ name: caption.file, caption })), count);
  }
  if (!captions) return limited(sorted(images), count);
  const byName = new Map<string, PictureFile>();
  for (const file of images) {
    const name = file.name.slice(file.name.lastIndexOf("/") + 1).replace(/\.\w+$/, "");
    const other = byName.get(name);
    if (other) throw new UsageError(`${other.name} and ${file.name} have the name of one caption's picture: leave one out`);
    byName.set(name, file);
  }
  const items = limited(captions, count).map((caption) => ({
    name: caption.file,
    caption,
    file: byName.get(caption.file.replace(/\.png$/, "")),
  }));
  const missing = items.filter(({ file }) => !file);
  if (missing.length > 0) {
    throw new UsageError(
      `${missing.length} of ${items.length} captions have no picture, the first ${missing[0]!.name}; draw them, or take fewer rows with ` +
        "count",
    );
  }
  return items;
}

/** A picture that goes through the network when there are enough of them. */
type Waiting = { readonly item: Item; readonly image: RgbImage };

/** What a run and its helpers share. */
class QualityRun {
  private readonly painter: CaptionPainter | undefined;

  constructor(
    model: StableDiffusion | null,
    private readonly options: QualityOptions & { readonly store: Store },
    private readonly settings: Values<typeof QUALITY_OPTIONS>,
    private readonly onEvent: (event: QualityEvent) => void | Promise<void>,
  ) {
    const { steps, scheduler, guidance } = settings;
    const drawing = { steps, scheduler: scheduler as SchedulerName, guidance, signal: options.signal };
    this.painter = model
      ? new CaptionPainter(model, { ...drawing, onStep: (step, of) => onEvent({ type: "step", step, steps: of }) })
      : undefined;
  }

  /** The features of a set, those of an earlier run among them. */
  async take(set: SetName, items: readonly Item[]): Promise<Map<string, LoggedPicture>> {
    const { network, clip, signal } = this.options;
    const store = (set === "real" ? this.options.realStore : undefined) ?? this.options.store;
    const log = QUALITY_FILES.logs[set];
    const known = await readFeatureLog(store, log, network?.dims);
    const taken = new Map(items.flatMap(({ name }) => (known.has(name) ? [[name, known.get(name)!]] : [])));
    const left = items.filter(({ name }) => !taken.has(name));
    await this.onEvent({ type: "begin", set, total: items.length, done: taken.size });
    const lines = await store.openLines(log);
    const keep = async (logged: LoggedPicture): Promise<void> => {
      await lines.write(featureLine(logged));
      taken.set(logged.name, logged);
      if (logged.unreadable === undefined) {
        await this.onEvent({ type: "picture", set, name: logged.name, done: taken.size, total: items.length });
      }
    };
    const waiting: Waiting[] = [];
    const score = async (batch: readonly Waiting[]): Promise<void> => {
      if (batch.length === 0) return;
      const features = await network?.features(padded(batch.map(({ image }) => image)));
      for (const [i, { item, image }] of batch.entries()) {
        const own = features?.slice(i * network!.dims, (i + 1) * network!.dims);
        if (own?.some((x) => !Number.isFinite(x))) throw new InputError(`${item.name}: its features by ${network!.name} are not finite`);
        const logit = set === "generated" && clip && item.caption ? await clip.logit(image, item.caption.prompt) : undefined;
        await keep({ name: item.name, features: own, logit });
      }
    };
    try {
      const group = this.painter?.batchOf(this.settings.batch) ?? 1;
      for (let at = 0; at < left.length; at += group) {
        signal?.throwIfAborted();
        for (const { item, image } of await this.pictures(set, left.slice(at, at + group))) {
          if (typeof image === "string") await keep({ name: item.name, unreadable: image });
          else waiting.push({ item, image });
        }
        while (waiting.length >= FEATURE_BATCH) await score(waiting.splice(0, FEATURE_BATCH));
        if (this.settings.dropPictures && this.painter && set === "generated") await score(waiting.splice(0)); // they are nowhere else
      }
      await score(waiting.splice(0));
    } finally {
      lines.close();
    }
    return taken;
  }

  /** Pictures of items, each from its file, from an earlier run's, or drawn; a text for one that cannot be read and may be passed over. */
  private async pictures(set: SetName, items: readonly Item[]): Promise<{ readonly item: Item; readonly image: RgbImage | string }[]> {
    const found: { readonly item: Item; readonly image: RgbImage | string }[] = [];
    const missing: Item[] = [];
    for (const item of items) {
      const image = item.file ? await this.readable(set, item.file) : await this.drawn(item.name);
      if (image) found.push({ item, image });
      else missing.push(item);
    }
    if (missing.length === 0) return found;
    // The last group is filled up, so that one program serves all.
    const group = this.painter!.batchOf(this.settings.batch);
    const captions = Array.from({ length: group }, (_, i) => missing[Math.min(i, missing.length - 1)]!.caption!);
    const images = await this.painter!.draw(captions);
    for (const [i, item] of missing.entries()) {
      const image = images[i]!;
      if (!this.settings.dropPictures) {
        const { prompt, seed } = item.caption!;
        await this.options.store.write(QUALITY_FILES.picture(item.name), encodePng(image, { prompt, seed: String(seed) }));
      }
      found.push({ item, image });
    }
    return found;
  }

  private async drawn(name: string): Promise<RgbImage | undefined> {
    const file = QUALITY_FILES.picture(name);
    const bytes = await this.options.store.read(file);
    return bytes && decodePng(this.options.store.nameOf(file), bytes);
  }

  private async readable(set: SetName, file: PictureFile): Promise<RgbImage | string> {
    try {
      return await file.read();
    } catch (error) {
      if (!this.settings.skipUnreadable || !(error instanceof FormatError)) throw error;
      await this.onEvent({ type: "unreadable", set, name: file.name, reason: error.message });
      return error.message;
    }
  }
}

function padded(images: readonly RgbImage[]): RgbImage[] {
  return Array.from({ length: FEATURE_BATCH }, (_, i) => images[Math.min(i, images.length - 1)]!);
}

type Taken = ReadonlyMap<string, LoggedPicture>;

function withoutDistances(generated: Taken, real: Taken | undefined): QualityResult {
  // In the order of names, so that a sum does not hang on which part made a picture.
  const logits = [...generated.values()].flatMap(({ name, logit }): [string, number][] => (logit === undefined ? [] : [[name, logit]]));
  const captionScores = new Map(logits.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const readable = (taken: Taken): number => [...taken.values()].filter((p) => p.unreadable === undefined).length;
  const all = generated.size + (real?.size ?? 0);
  return {
    count: readable(generated),
    realCount: real ? readable(real) : null,
    unreadable: all - readable(generated) - (real ? readable(real) : 0),
    distances: null,
    clipScore: captionScores.size > 0 ? clipScore([...captionScores.values()]) : null,
    captionScores,
  };
}

/**
 * The scores of pictures whose features are known: of one run, or of all shards together. Writes `statistics.npz` to the store.
 * @throws InputError for sets that cannot be compared; RangeError for fewer than two pictures
 */
export async function scored(
  options: Omit<QualityOptions, "network"> & { readonly network?: Pick<FeatureNetwork, "dims" | "meanPrecision"> | undefined },
  taken: Readonly<Record<SetName, Taken>>,
  onEvent: (event: QualityEvent) => void | Promise<void> = () => undefined,
): Promise<QualityResult> {
  const { network, real, store } = options;
  const counts = withoutDistances(taken.generated, isPictures(real) ? taken.real : undefined);
  if (!network) return counts;
  const settings = filledIn(QUALITY_OPTIONS, options);
  const setOf = (name: string, pictures: Taken): KnownSet => {
    const features = featureRows(pictures.values(), network.dims);
    if (features.count < 2) throw new UsageError(`${name}: at least two pictures are needed, there are ${features.count}`);
    return { name, features, statistics: statisticsOf(features) };
  };
  const generated = setOf("the generated pictures", taken.generated);
  await store?.write(QUALITY_FILES.statistics, await writeStatistics(generated.statistics));
  if (!real) return counts;
  const distances = await distancesOf(generated, isPictures(real) ? setOf("the real pictures", taken.real) : real, {
    ...settings,
    float32Mean: network.meanPrecision === "float32",
    onProgress: (what, done, total) => onEvent({ type: "score", what, done, total }),
  });
  return { ...counts, distances };
}
