import { FormatError } from "../../formats/errors.ts";
import { parseJson } from "../../formats/file-system.ts";
import { openTensorFile } from "../../formats/open.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { decodePng, encodePng } from "../../platform/picture/png-codec.ts";
import { safetensorsPieces, type TensorOnDemand } from "../../formats/safetensors-writer.ts";
import type { Lines, Store } from "../../formats/store.ts";
import { formatJsonLine, parseJsonLines } from "../../formats/text/jsonl.ts";
import { weightSource } from "../../nn/weight-source.ts";
import type { ResumedTraining, SavedTraining } from "../../unlearn/options.ts";
import { type LogLine, type PreviewLine, isLogLine, isPreview } from "./log.ts";
import { type UnlearnRecord, parseUnlearnRecord } from "./record.ts";

/** What FILE.run/ holds besides pictures. */
export const UNLEARN_FILES = { record: "run.json", log: "log.jsonl", state: "state.safetensors", report: "report.html" } as const;

const FORM = "lethe unlearn state 1";

/** A training to go on with, and the seconds that were spent on it. */
export interface SavedRun {
  readonly training: ResumedTraining;
  readonly seconds: number;
}

/** The files of one erasing run. Every one but the log appears whole or not at all; the log is kept line by line. */
export class UnlearnFiles {
  private log: Lines | undefined;

  constructor(private readonly store: Store) {}

  get reportFile(): string {
    return this.store.nameOf(UNLEARN_FILES.report);
  }

  /** The record of an earlier run, if there is one. @throws FormatError */
  async earlier(): Promise<UnlearnRecord | undefined> {
    const bytes = await this.store.read(UNLEARN_FILES.record);
    const name = this.store.nameOf(UNLEARN_FILES.record);
    return bytes && parseUnlearnRecord(name, parseJson(name, new TextDecoder().decode(bytes)));
  }

  /** Where an interrupted run stood, if it came far enough. Its tensors are read when they are asked for. @throws FormatError */
  async saved(): Promise<SavedRun | undefined> {
    const source = await this.store.open(UNLEARN_FILES.state);
    if (!source) return undefined;
    const file = await openTensorFile(source);
    const { form, seconds, step, json } = file.metadata;
    const count = Number(step);
    if (form !== FORM || !Number.isSafeInteger(count)) {
      throw new FormatError(file.name, "is not a state of an erasing run that this version can go on with");
    }
    return {
      training: { step: count, json: parseJson(file.name, json ?? ""), tensors: weightSource(file) },
      seconds: Number(seconds) || 0,
    };
  }

  /** Keeps where a training stands. @throws FormatError; what reading a tensor throws, and then the last state stays */
  async save({ step, json, tensors }: SavedTraining, seconds: number): Promise<void> {
    const name = this.store.nameOf(UNLEARN_FILES.state);
    const parts = tensors.map(({ name: tensor, shape, read }): [string, TensorOnDemand] => {
      const bytes = async (): Promise<Uint8Array<ArrayBuffer>> => {
        const data = await read();
        return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      };
      return [tensor, { dtype: "F32", shape, read: bytes }];
    });
    const metadata = { form: FORM, step: String(step), seconds: String(seconds), json: JSON.stringify(json) };
    await this.store.write(UNLEARN_FILES.state, safetensorsPieces(name, Object.fromEntries(parts), metadata));
  }

  /** Makes ready for a new run: what an earlier one left of its own is taken away. @throws FormatError */
  async clear(): Promise<void> {
    for (const line of await this.lines()) if (isPreview(line)) await this.store.remove(line.image);
    for (const name of Object.values(UNLEARN_FILES)) await this.store.remove(name);
    this.log = await this.store.openLines(UNLEARN_FILES.log);
  }

  /** Opens the log to go on after a step: lines of later ones are of work that will be done again. @returns what it holds */
  async reopen(step: number): Promise<LogLine[]> {
    const all = await this.lines();
    const kept = all.filter((line) => line.step <= step);
    if (all.length > kept.length) await this.store.write(UNLEARN_FILES.log, kept.map(formatJsonLine).join(""));
    this.log = await this.store.openLines(UNLEARN_FILES.log);
    return kept;
  }

  async add(line: LogLine): Promise<void> {
    await this.log?.write(formatJsonLine(line));
  }

  /** Writes a preview's picture and then its line. @param texts of the PNG @throws FormatError */
  async addPreview(line: PreviewLine, picture: RgbImage, texts: Readonly<Record<string, string>>): Promise<void> {
    await this.store.write(line.image, encodePng(picture, texts));
    await this.add(line);
  }

  /** A picture written before; undefined if it is not there any more. @throws FormatError if it is damaged */
  async picture(name: string): Promise<RgbImage | undefined> {
    const bytes = await this.store.read(name);
    return bytes && decodePng(this.store.nameOf(name), bytes);
  }

  /** What a report is rendered from beside the record: the log, and the previews that it names. @throws FormatError */
  async logged(): Promise<{ readonly log: LogLine[]; readonly pictures: ReadonlyMap<string, RgbImage> }> {
    const log = await this.lines();
    const pictures = new Map<string, RgbImage>();
    for (const line of log) {
      const picture = isPreview(line) ? await this.picture(line.image) : undefined;
      if (isPreview(line) && picture) pictures.set(line.image, picture);
    }
    return { log, pictures };
  }

  writeRecord(record: UnlearnRecord): Promise<void> {
    return this.store.write(UNLEARN_FILES.record, `${JSON.stringify(record, null, 1)}\n`);
  }

  writeReport(html: string): Promise<void> {
    return this.store.write(UNLEARN_FILES.report, html);
  }

  /** The state is of no use once the result is written. */
  dropState(): Promise<void> {
    return this.store.remove(UNLEARN_FILES.state);
  }

  close(): void {
    this.log?.close();
    this.log = undefined;
  }

  /** Lines of the log; only plain names below images/ are believed. @throws FormatError */
  async lines(): Promise<LogLine[]> {
    const bytes = await this.store.read(UNLEARN_FILES.log);
    if (!bytes) return [];
    const { records } = parseJsonLines(this.store.nameOf(UNLEARN_FILES.log), new TextDecoder().decode(bytes));
    return records.filter(isLogLine).filter((line) => !isPreview(line) || /^images\/[\w-]+\.png$/.test(line.image));
  }
}
