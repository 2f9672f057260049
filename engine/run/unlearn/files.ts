import { FormatError } from "../../formats/errors.ts";
import { parseJson } from "../../formats/file-system.ts";
import { openTensorFile } from "../../formats/open.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { encodePng } from "../../platform/picture/png-codec.ts";
import { safetensorsPieces, type TensorOnDemand } from "../../formats/safetensors-writer.ts";
import type { Store } from "../../formats/store.ts";
import { weightSource } from "../../nn/weight-source.ts";
import type { ResumedTraining, SavedTraining } from "../../unlearn/options.ts";
import { AnyRunFiles, namesPicture } from "../any-files.ts";
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

/** The files of one erasing run. */
export class UnlearnFiles extends AnyRunFiles<UnlearnRecord> {
  constructor(store: Store) {
    super(store, UNLEARN_FILES, parseUnlearnRecord);
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
    await this.beginLog((await this.lines()).filter(isPreview).map(({ image }) => image));
  }

  /** Opens the log to go on after a step: lines of later ones are of work that will be done again. @returns what it holds */
  async reopen(step: number): Promise<LogLine[]> {
    const all = await this.lines();
    const kept = all.filter((line) => line.step <= step);
    await this.keepLog(kept, all.length);
    return kept;
  }

  async add(line: LogLine): Promise<void> {
    await this.addLine(line);
  }

  /** Writes a preview's picture and then its line. @param texts of the PNG @throws FormatError */
  async addPreview(line: PreviewLine, picture: RgbImage, texts: Readonly<Record<string, string>>): Promise<void> {
    await this.store.write(line.image, encodePng(picture, texts));
    await this.add(line);
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

  writeReport(html: string): Promise<void> {
    return this.store.write(UNLEARN_FILES.report, html);
  }

  /** Lines of the log; only plain names below images/ are believed. @throws FormatError */
  async lines(): Promise<LogLine[]> {
    return (await this.records()).filter(isLogLine).filter((line) => !isPreview(line) || namesPicture(line));
  }
}
