import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Evaluation } from "../../engine/attack/session/evaluation.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { formatJsonLine, parseJsonLines } from "../../engine/formats/text/jsonl.ts";
import { type LearnedEmbedding, encodeLearnedEmbedding } from "../../engine/diffusion/learned-embedding.ts";
import { decodePng, encodePng } from "../../engine/formats/picture/png.ts";
import { type LineWriter, makeFolder, openLineWriter, readBytes, readText, writeFileAtomic } from "../../engine/platform/node-files.ts";
import { exists } from "../output.ts";
import { type LoggedEvaluation, logLine } from "../../engine/run/log.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { readRecord } from "./record.ts";
import { type SavedState, readState, writeState } from "./state-file.ts";

/** The files of one run. Every one but the log appears whole or not at all; the log is on the disk line by line. */
export class RunFolder {
  private log: LineWriter | undefined;

  constructor(readonly path: string) {}

  get reportFile(): string {
    return join(this.path, "report.html");
  }

  private get logFile(): string {
    return join(this.path, "attack.jsonl");
  }

  private get recordFile(): string {
    return join(this.path, "run.json");
  }

  private get learnedFile(): string {
    return join(this.path, "learned_embeds.safetensors");
  }

  private get stateFile(): string {
    return join(this.path, "state.safetensors");
  }

  /** The record of an earlier run, if there is one. @throws FormatError */
  async earlier(): Promise<RunRecord | undefined> {
    return (await exists(this.recordFile)) ? readRecord(this.recordFile) : undefined;
  }

  /** Whether any file of a run is there. */
  async holdsRun(): Promise<boolean> {
    for (const file of [this.recordFile, this.logFile, this.stateFile, this.reportFile]) if (await exists(file)) return true;
    return false;
  }

  /** Where an interrupted run stood, if it came far enough to leave a state. @throws FormatError */
  async saved(): Promise<SavedState | undefined> {
    return (await exists(this.stateFile)) ? readState(this.stateFile) : undefined;
  }

  /** Makes the folder ready for a new run: what an earlier one left of its own is taken away. @throws FormatError */
  async clear(): Promise<void> {
    await makeFolder(join(this.path, "images"));
    const logged = (await exists(this.logFile)) ? imageNames(this.logFile, await readText(this.logFile)) : [];
    for (const file of [...logged.map((name) => join(this.path, name)), this.logFile, this.recordFile, this.stateFile, this.reportFile, this.learnedFile]) await rm(file, { force: true });
    this.log = openLineWriter(this.logFile);
  }

  /**
   * Opens the log to go on after the evaluations that the state knows of; lines beyond them are of work that will be done again.
   * @returns those evaluations with their pictures' places
   * @throws FormatError
   */
  async reopen(evaluations: readonly Evaluation[]): Promise<LoggedEvaluation[]> {
    await makeFolder(join(this.path, "images"));
    const { records } = parseJsonLines(this.logFile, await readText(this.logFile));
    if (records.length < evaluations.length) throw new FormatError(this.logFile, `has ${records.length} lines, but the state knows of ${evaluations.length} evaluations; start the attack anew`);
    const kept = records.slice(0, evaluations.length) as Partial<LoggedEvaluation>[];
    if (records.length > kept.length) await writeFileAtomic(this.logFile, kept.map(formatJsonLine).join(""));
    this.log = openLineWriter(this.logFile, { append: true });
    return evaluations.map((e, i) => ({ ...e, image: kept[i]!.image ?? null }));
  }

  /** Writes an evaluation's picture, if a new one was drawn, and then its line. @param texts of the PNG @throws FormatError */
  async add(evaluation: LoggedEvaluation, picture?: RgbImage, texts: Readonly<Record<string, string>> = {}): Promise<void> {
    if (picture && evaluation.image !== null && !evaluation.unchanged) await writeFileAtomic(join(this.path, evaluation.image), encodePng(picture, texts));
    this.log?.write(formatJsonLine(logLine(evaluation)));
  }

  /** Writes the word that cce has learned so far, for `generate --embedding`. @throws FormatError */
  async writeLearned(learned: LearnedEmbedding, hidden: number): Promise<void> {
    await writeFileAtomic(this.learnedFile, encodeLearnedEmbedding(this.learnedFile, learned, hidden));
  }

  /** A picture written before. @throws FormatError */
  async picture(name: string): Promise<RgbImage> {
    const file = join(this.path, name);
    return decodePng(file, await readBytes(file));
  }

  async writeState(saved: SavedState): Promise<void> {
    await writeState(this.stateFile, saved);
  }

  async writeRecord(record: RunRecord): Promise<void> {
    await writeFileAtomic(this.recordFile, `${JSON.stringify(record, null, 1)}\n`);
  }

  /** The state is of no use once a run is finished. */
  async dropState(): Promise<void> {
    await rm(this.stateFile, { force: true });
  }

  close(): void {
    this.log?.close();
    this.log = undefined;
  }
}

/** Pictures that a log names; only plain names below images/ are believed. */
function imageNames(file: string, text: string): string[] {
  const { records } = parseJsonLines(file, text);
  return records.flatMap((r) => {
    const image = (r as { image?: unknown } | null)?.image;
    return typeof image === "string" && /^images\/[\w-]+\.png$/.test(image) ? [image] : [];
  });
}
