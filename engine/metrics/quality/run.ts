import type { SchedulerName } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { FormatError } from "../../formats/errors.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { decodePng, encodePng } from "../../platform/picture/png-codec.ts";
import { type Store, memoryStore } from "../../formats/store.ts";
import type { Values } from "../../options/option.ts";
import { filledIn } from "../../options/values.ts";
import { InputError, UsageError } from "../../runtime/errors.ts";
import type { Caption } from "./captions.ts";
import { CaptionPainter } from "./draw.ts";
import { type LoggedPicture, featureLine, readFeatureLog } from "./feature-log.ts";
import {
  type PictureFile, QUALITY_FILES, type QualityEvent, type QualityOptions, type QualityPart, type QualityResult, type SetName, isPictures,
} from "./kinds.ts";
import { QUALITY_OPTIONS } from "./option-table.ts";
import { scored, withoutDistances } from "./scored.ts";

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
  const result = shard
    ? withoutDistances(generated, realPictures)
    : await run.timed("distances", generated.size, () => scored(options, { generated, real: realPictures ?? new Map() }, onEvent));
  return { ...result, times: run.times };
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
  readonly times: { [part in QualityPart]?: { ms: number; pictures: number } } = {};
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

  /** Does a part of the work on so many pictures and counts its time. */
  async timed<T>(part: QualityPart, pictures: number, work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    const result = await work();
    this.spent(part, pictures, performance.now() - begun);
    return result;
  }

  private spent(part: QualityPart, pictures: number, ms: number): void {
    const time = (this.times[part] ??= { ms: 0, pictures: 0 });
    time.ms += ms;
    time.pictures += pictures;
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
      const features = network && (await this.timed("network", batch.length, () => {
        const images = padded(batch.map(({ image }) => image));
        return network.features(images, (ms) => { this.spent("resize", batch.length, ms); this.spent("network", 0, -ms); });
      }));
      for (const [i, { item, image }] of batch.entries()) {
        const own = features?.slice(i * network!.dims, (i + 1) * network!.dims);
        if (own?.some((x) => !Number.isFinite(x))) throw new InputError(`${item.name}: its features by ${network!.name} are not finite`);
        const caption = set === "generated" && clip ? item.caption : undefined;
        const logit = caption && (await this.timed("clip", 1, () => clip!.logit(image, caption.prompt)));
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
      const image = item.file ? await this.timed("read", 1, () => this.readable(set, item.file!)) : await this.drawn(item.name);
      if (image) found.push({ item, image });
      else missing.push(item);
    }
    if (missing.length === 0) return found;
    // The last group is filled up, so that one program serves all.
    const group = this.painter!.batchOf(this.settings.batch);
    const captions = Array.from({ length: group }, (_, i) => missing[Math.min(i, missing.length - 1)]!.caption!);
    const images = await this.timed("draw", missing.length, () => this.painter!.draw(captions));
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
