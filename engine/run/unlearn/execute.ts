import type { StableDiffusionPipeline } from "../../diffusion/pipeline.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import type { Store } from "../../formats/store.ts";
import { pick } from "../../options/values.ts";
import { outputFiles } from "../../unlearn/files/layouts.ts";
import type { ModelFolder } from "../../unlearn/files/model-folder.ts";
import { UNLEARN_OPTIONS } from "../../unlearn/option-table.ts";
import { writtenChanges } from "../../unlearn/lora.ts";
import { type SavedTraining, type UnlearnOptions, resolveUnlearn } from "../../unlearn/options.ts";
import { type UnlearnEvent, type Unlearned, unlearn } from "../../unlearn/run.ts";
import { ending, toTheEnd } from "../ending.ts";
import type { RunStatus } from "../record.ts";
import type { SavedRun, UnlearnFiles } from "./files.ts";
import { type LogLine, type PreviewLine, type StepLine, isPreview, stepLine } from "./log.ts";
import { type PreviewPrompt, drawPreviews } from "./previews.ts";
import type { UnlearnOutcome, UnlearnRecord } from "./record.ts";
import { renderUnlearnReport } from "./report.ts";
import type { UnlearnSettings } from "./settings.ts";

/** An erasing run ready to start: everything has been opened and checked. */
export interface PreparedUnlearn {
  readonly model: StableDiffusionPipeline;
  /** Where it was loaded from. */
  readonly base: ModelFolder;
  readonly retain: readonly string[];
  readonly images: UnlearnOptions["images"];
  readonly previews: readonly PreviewPrompt[];
  readonly record: UnlearnRecord;
  readonly files: UnlearnFiles;
  /** Where an interrupted run stood that is gone on with. */
  readonly saved?: SavedRun | undefined;
  /** The folder in which the result lies, and what it is called there. */
  readonly output: Store;
  readonly name: string;
  /** Files of `output` that an earlier run wrote, which are taken away when this one begins. */
  readonly replaced?: readonly string[];
  /** SHA-256 of a file of `output`, as hexadecimal digits. */
  readonly sha256: (name: string) => Promise<string>;
  readonly showImages: boolean;
}

/** Who follows an erasing run. */
export interface UnlearnWatcher {
  /** Stops the run after the work under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: UnlearnEvent) => void) | undefined;
  readonly onPreview?: ((line: PreviewLine, picture: RgbImage) => void) | undefined;
  readonly say?: ((line: string) => void) | undefined;
}

/** The options of the engine that settings stand for. */
export function unlearnOptions(settings: UnlearnSettings, { retain, images }: Pick<PreparedUnlearn, "retain" | "images">): UnlearnOptions {
  const { method, concepts } = settings;
  return { ...pick(UNLEARN_OPTIONS, { ...settings }), method, concepts, retain, ...(images && { images }) };
}

/** States are kept at most so often where nobody says how often. */
const SAVE_AFTER_MS = 5000;

/**
 * Erases, and writes everything down as it goes: a line per step, the previews, the state; the result in its layout; and the record and the
 * report at the end, also when the run was interrupted or failed.
 * @returns the finished run's record
 * @throws what `unlearn` throws, and FormatError for what cannot be written; the last state is then there to be gone on with
 */
export async function executeUnlearn(run: PreparedUnlearn, watcher: UnlearnWatcher = {}): Promise<UnlearnRecord> {
  const log = run.saved ? await run.files.reopen(run.saved.training.step) : [];
  if (!run.saved) {
    await run.files.clear();
    for (const name of run.replaced ?? []) await run.output.remove(name);
  }
  const writer = new UnlearnWriter(run, watcher, log);
  let erased: Unlearned | undefined;
  const work = async (): Promise<UnlearnRecord> => {
    await run.files.writeRecord(run.record);
    erased = await writer.erase();
    const finished = await writer.finish("finished", await writer.writeResult(erased), null);
    await run.files.dropState();
    return finished;
  };
  try {
    return await toTheEnd(work, (status, error) => writer.finish(status, null, error), watcher.say);
  } finally {
    await erased?.destroy();
    await run.saved?.training.tensors.close?.();
    run.files.close();
  }
}

class UnlearnWriter {
  private readonly started = performance.now();
  private readonly before: number;
  private lastSave = performance.now();

  constructor(private readonly run: PreparedUnlearn, private readonly watcher: UnlearnWatcher, private readonly log: LogLine[]) {
    this.before = run.saved?.seconds ?? 0;
  }

  /** Over all parts of the run. */
  private get seconds(): number {
    return this.before + (performance.now() - this.started) / 1000;
  }

  async erase(): Promise<Unlearned> {
    const { model, record: { settings }, saved, previews } = this.run;
    const { signal } = this.watcher;
    const options = unlearnOptions(settings, this.run);
    const { steps } = resolveUnlearn(model, options);
    const { saveEvery, previewEvery } = settings;
    const shows = previewEvery !== 0 && previews.length > 0;
    const begins = shows && !this.log.some((line) => isPreview(line) && line.step === 0);
    const trains = steps ?? 1;
    const result = await unlearn(
      model,
      {
        ...options,
        ...(saved && { resume: saved.training }),
        state: {
          every: saveEvery ?? Math.ceil(trains / 10),
          save: (state) => this.save(state, saveEvery !== null || state.step === trains),
        },
        ...(shows && { pauses: [{ every: previewEvery ?? Math.ceil(trains / 4), at: (step, trained) => this.draw(step, trained) }] }),
        signal,
      },
      async (event) => {
        await this.handle(event);
        // Not before it is known to fit, and which weights are to be on the device.
        if (event.type === "estimate" && begins) await this.draw(0, model);
      },
    );
    if (shows && !this.log.some((line) => isPreview(line) && line.step === result.steps)) await this.draw(result.steps, result.model);
    return result;
  }

  private async handle(event: UnlearnEvent): Promise<void> {
    if (event.type === "step") {
      const line = stepLine(event, this.before);
      this.log.push(line);
      await this.run.files.add(line);
    }
    this.watcher.onEvent?.(event);
  }

  private async save(state: SavedTraining, always: boolean): Promise<void> {
    if (!always && performance.now() - this.lastSave < SAVE_AFTER_MS) return;
    await this.run.files.save(state, this.seconds);
    this.lastSave = performance.now();
  }

  private async draw(step: number, model: StableDiffusionPipeline): Promise<void> {
    const { previews, record, files } = this.run;
    for (const { line, picture, texts } of await drawPreviews(model, previews, step, record, this.watcher.signal)) {
      await files.addPreview(line, picture, texts);
      this.log.push(line);
      this.watcher.onPreview?.(line, picture);
    }
  }

  /** Writes the result in its layout. @throws FormatError; UsageError for a layout that cannot hold it */
  async writeResult(erased: Unlearned): Promise<UnlearnOutcome> {
    const { record: { settings }, model, base, output, name, sha256 } = this.run;
    const layout = settings.layout ?? erased.layout;
    const files: { name: string; bytes: number }[] = [];
    for (const { name: below, pieces } of await outputFiles(layout, model, await writtenChanges(erased), output.nameOf(name), base)) {
      const path = below === "" ? name : `${name}/${below}`;
      let bytes = 0;
      await output.write(path, (async function* counted() {
        for await (const piece of pieces) {
          bytes += piece.length;
          yield piece;
        }
      })());
      files.push({ name: path, bytes });
    }
    const shapes = new Map(erased.changed.map((t) => [`${t.component} ${t.name}`, t.shape]));
    const trained = erased.trained.map(({ component, tensors }) => ({
      component,
      tensors: tensors.length,
      parameters: tensors.reduce((sum, tensor) => sum + (shapes.get(`${component} ${tensor}`) ?? []).reduce((n, d) => n * d, 1), 0),
    }));
    const lastLoss = this.log.findLast((line): line is StepLine => !isPreview(line))?.loss ?? null;
    return { steps: erased.steps, loss: erased.loss ?? lastLoss, layout, files, sha256: await sha256(files.at(-1)!.name), trained };
  }

  /** Writes the last record and the report. */
  async finish(status: RunStatus, result: UnlearnOutcome | null, error: unknown): Promise<UnlearnRecord> {
    const { files, model, showImages } = this.run;
    const record: UnlearnRecord = { ...this.run.record, ...ending(status, error, this.seconds, model.device), result };
    await files.writeRecord(record);
    await files.writeReport(renderUnlearnReport({ record, ...(await files.logged()), showImages }));
    return record;
  }
}
