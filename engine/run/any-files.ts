import { parseJson } from "../formats/file-system.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { Lines, Store } from "../formats/store.ts";
import { formatJsonLine, parseJsonLines } from "../formats/text/jsonl.ts";
import { decodePng } from "../platform/picture/png-codec.ts";
import type { AnyRunRecord } from "./record.ts";

/** What a run leaves besides its pictures, each under its name. */
export type FileNames = Readonly<Record<"record" | "log" | "state" | "report", string>>;

/** The files of a run of any kind. Every one but the log appears whole or not at all; the log is kept line by line. */
export class AnyRunFiles<Kept extends AnyRunRecord> {
  private log: Lines | undefined;

  /** @param parse a record's content, for errors with its file's name */
  constructor(
    protected readonly store: Store,
    private readonly names: FileNames,
    private readonly parse: (file: string, value: unknown) => Kept,
  ) {}

  get reportFile(): string {
    return this.store.nameOf(this.names.report);
  }

  /** The record of an earlier run, if there is one. @throws FormatError */
  async earlier(): Promise<Kept | undefined> {
    const [file, text] = [this.store.nameOf(this.names.record), await this.text(this.names.record)];
    return text === undefined ? undefined : this.parse(file, parseJson(file, text));
  }

  writeRecord(record: Kept): Promise<void> {
    return this.store.write(this.names.record, `${JSON.stringify(record, null, 1)}\n`);
  }

  /** A picture written before; undefined if it is not there any more. @throws FormatError if it is damaged */
  async picture(name: string): Promise<RgbImage | undefined> {
    const bytes = await this.store.read(name);
    return bytes && decodePng(this.store.nameOf(name), bytes);
  }

  /** The state is of no use once a run is finished. */
  dropState(): Promise<void> {
    return this.store.remove(this.names.state);
  }

  close(): void {
    this.log?.close();
    this.log = undefined;
  }

  protected async text(name: string): Promise<string | undefined> {
    const bytes = await this.store.read(name);
    return bytes && new TextDecoder().decode(bytes);
  }

  /** The complete lines of the log. @throws FormatError */
  protected async records(): Promise<readonly unknown[]> {
    return parseJsonLines(this.store.nameOf(this.names.log), (await this.text(this.names.log)) ?? "").records;
  }

  /** Begins a log. What an earlier run left of its own is taken away. @param pictures of that run, and what else it has */
  protected async beginLog(pictures: Iterable<string>): Promise<void> {
    for (const name of [...pictures, ...Object.values(this.names)]) await this.store.remove(name);
    this.log = await this.store.openLines(this.names.log);
  }

  /** Opens the log to go on after these of its lines: what came later is of work that will be done again. @param count of all it has */
  protected async keepLog(kept: readonly object[], count: number): Promise<void> {
    if (count > kept.length) await this.store.write(this.names.log, kept.map(formatJsonLine).join(""));
    this.log = await this.store.openLines(this.names.log);
  }

  protected async addLine(line: object): Promise<void> {
    await this.log?.write(formatJsonLine(line));
  }
}

/** Whether a log's line names a picture: only plain names below images/ are believed. */
export function namesPicture(line: unknown): line is { readonly image: string } {
  const image = (line as { image?: unknown } | null)?.image;
  return typeof image === "string" && /^images\/[\w-]+\.png$/.test(image);
}
