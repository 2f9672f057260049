import { type LearnedEmbedding, encodeLearnedEmbedding } from "../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { bytesSource } from "../formats/byte-source.ts";
import { FormatError } from "../formats/errors.ts";
import { openTensorFile } from "../formats/open.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import { encodePng } from "../platform/picture/png-codec.ts";
import type { Store } from "../formats/store.ts";
import { AnyRunFiles, namesPicture } from "./any-files.ts";
import type { Evaluation } from "../attack/session/evaluation.ts";
import { type LoggedEvaluation, logLine } from "./log.ts";
import { type RunRecord, parseRecord } from "./record.ts";
import type { ReportData, ReportExtras } from "./report/data.ts";
import { REPORT_PICTURES, keptReport, keptWith, readReport } from "./report/kept.ts";
import { renderReport } from "./report/report.ts";
import { type SavedState, decodeState, encodeState } from "./state.ts";

/** What a run leaves besides its pictures. */
export const RUN_FILES = {
  record: "run.json",
  log: "attack.jsonl",
  state: "state.safetensors",
  report: "report.html",
  reportData: "report.json",
  learned: "learned_embeds.safetensors",
} as const;

/** The files of one attack. */
export class RunFiles extends AnyRunFiles<RunRecord> {
  constructor(store: Store) {
    super(store, RUN_FILES, parseRecord);
  }

  /** Whether any file of a run is there. */
  async holdsRun(): Promise<boolean> {
    for (const name of Object.values(RUN_FILES)) if ((await this.store.read(name)) !== undefined) return true;
    return false;
  }

  /** Where an interrupted run stood, if it came far enough to leave a state. @throws FormatError */
  async saved(): Promise<SavedState | undefined> {
    const [name, bytes] = [this.store.nameOf(RUN_FILES.state), await this.store.read(RUN_FILES.state)];
    return bytes && decodeState(name, await openTensorFile(bytesSource(name, bytes)));
  }

  /** Makes ready for a new run: what an earlier one left of its own is taken away. @throws FormatError */
  async clear(): Promise<void> {
    const pictures = (await this.records()).filter(namesPicture).map(({ image }) => image);
    await this.beginLog([...pictures, ...Object.values(REPORT_PICTURES)]);
  }

  /**
   * Opens the log to go on after the evaluations that the state knows of; lines beyond them are of work that will be done again.
   * @returns those evaluations with their pictures' places
   * @throws FormatError
   */
  async reopen(evaluations: readonly Evaluation[]): Promise<LoggedEvaluation[]> {
    const records = await this.records();
    if (records.length < evaluations.length)
      throw new FormatError(
        this.store.nameOf(RUN_FILES.log),
        `has ${records.length} lines, but the state knows of ${evaluations.length} evaluations; start the attack anew`,
      );
    const kept = records.slice(0, evaluations.length) as Partial<LoggedEvaluation>[];
    await this.keepLog(kept, records.length);
    return evaluations.map((e, i) => ({ ...e, image: kept[i]!.image ?? null }));
  }

  /** Writes an evaluation's picture, if a new one was drawn, and then its line. @param texts of the PNG @throws FormatError */
  async add(evaluation: LoggedEvaluation, picture?: RgbImage, texts: Readonly<Record<string, string>> = {}): Promise<void> {
    if (picture && evaluation.image !== null && !evaluation.unchanged) await this.store.write(evaluation.image, encodePng(picture, texts));
    await this.addLine(logLine(evaluation));
  }

  /** Writes the word that cce has learned so far, for `generate --embedding`. @throws FormatError */
  async writeLearned(learned: LearnedEmbedding, model: StableDiffusion): Promise<void> {
    await this.store.write(RUN_FILES.learned, encodeLearnedEmbedding(RUN_FILES.learned, learned, model.text.tokenWidths));
  }

  /** A picture written before. @throws FormatError if it is missing or damaged */
  async written(name: string): Promise<RgbImage> {
    const picture = await this.picture(name);
    if (!picture) throw new FormatError(this.store.nameOf(name), "is missing from the attack: start it anew");
    return picture;
  }

  writeState(saved: SavedState): Promise<void> {
    return this.store.write(RUN_FILES.state, encodeState(this.store.nameOf(RUN_FILES.state), saved));
  }

  /**
   * Keeps what the report shows beside record, log and pictures, and renders it from there: so it can be rendered again at any time.
   * @throws FormatError
   */
  async writeReport(data: Omit<ReportData, "record" | "pictures">): Promise<void> {
    const { json, pictures } = keptReport(data);
    for (const [name, image] of pictures) await this.store.write(name, encodePng(image));
    await this.store.write(RUN_FILES.reportData, json);
    await this.store.write(RUN_FILES.report, await this.renderReport());
  }

  /**
   * Renders the report of an attack that has ended once more, with other pictures or prompts shown.
   * @returns whether there was something to render it from: earlier versions kept nothing for that
   * @throws FormatError if a file is missing or damaged
   */
  async showReport({ showImages, showPrompts = false, harmful = false }: ReportExtras): Promise<boolean> {
    const [file, json] = [this.store.nameOf(RUN_FILES.reportData), await this.text(RUN_FILES.reportData)];
    if (json === undefined) return false;
    const changed = keptWith(file, json, { showImages, showPrompts, harmful });
    if (changed === undefined) return true;
    await this.store.write(RUN_FILES.reportData, changed);
    await this.store.write(RUN_FILES.report, await this.renderReport());
    return true;
  }

  /** The report of an attack that has ended, from its files alone. @throws FormatError if one is missing or damaged */
  async renderReport(): Promise<string> {
    const [file, json, record] = [this.store.nameOf(RUN_FILES.reportData), await this.text(RUN_FILES.reportData), await this.earlier()];
    if (json === undefined || !record) throw new FormatError(file, "is missing: the attack has not ended yet");
    return renderReport(await readReport(file, json, record, (name) => this.written(name)));
  }
}
