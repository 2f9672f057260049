import { readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { formatJsonLine, parseJsonLines } from "../../engine/formats/text/jsonl.ts";
import {
  type LineWriter, makeFolder, openLineWriter, readBytes, readJson, readText, writeFileAtomic,
} from "../../engine/platform/node-files.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import type { DrawnLine, LogLine } from "../../engine/run/log.ts";
import type { FileRecord, RunRecord } from "../../engine/run/record.ts";
import { parseRecord } from "../../engine/run/record.ts";
import { exists } from "../output.ts";
import { type AttemptLine, attemptFolder, parseAttempts } from "../../engine/run/leaderboard/attempt-line.ts";
import type { CellRecord, Manifest, Shard } from "../../engine/run/leaderboard/manifest.ts";

/** The files of an evaluation, or of one shard of it. An attempt counts once its line is in attempts.jsonl. */
export class EvaluationFolder {
  constructor(readonly path: string) {}

  private get manifestFile(): string {
    return join(this.path, "evaluation.json");
  }

  get attemptsFile(): string {
    return join(this.path, "attempts.jsonl");
  }

  get basesFile(): string {
    return join(this.path, "base.jsonl");
  }

  /** @throws FormatError if there is a file but not of this form */
  async manifest(): Promise<Manifest | undefined> {
    if (!(await exists(this.manifestFile))) return undefined;
    const value = (await readJson(this.manifestFile)) as Partial<Manifest> | null;
    if (
      value?.form !== "lethe evaluation 1" ||
      typeof value.sha256 !== "string" ||
      !Array.isArray(value.cells) ||
      !value.cells.every((cell) => typeof cell?.rule === "string")
    ) {
      throw new FormatError(this.manifestFile, "is not an evaluation that this version can go on with");
    }
    return value as Manifest;
  }

  /** The same of a folder that must hold an evaluation. @throws UsageError, FormatError */
  async requireManifest(): Promise<Manifest> {
    const manifest = await this.manifest();
    if (!manifest) throw new UsageError(`${this.path} does not hold an evaluation: there is no evaluation.json in it`);
    return manifest;
  }

  /** Makes the folder this evaluation's. @throws UsageError if it is another's */
  async claim(manifest: Manifest): Promise<void> {
    const before = await this.manifest();
    if (before && before.sha256 !== manifest.sha256) {
      throw new UsageError(`${this.path} holds an evaluation with another configuration or other prompts: give another folder`);
    }
    if (before && JSON.stringify(before.shard) !== JSON.stringify(manifest.shard)) {
      throw new UsageError(
        `${this.path} holds ${describeShard(before.shard)} of this evaluation, not ${describeShard(manifest.shard)}: give another folder`,
      );
    }
    await makeFolder(this.path);
    if (!before) await this.write("evaluation.json", `${JSON.stringify(manifest, null, 1)}\n`);
  }

  /**
   * Takes away what processes that were killed while writing left: files that were never renamed. Nobody else may be writing.
   * @throws FormatError
   */
  async tidy(): Promise<void> {
    try {
      const names = await readdir(this.path);
      for (const below of ["cells", "base", "quality"]) {
        const folder = join(this.path, below);
        if (await exists(folder)) names.push(...(await readdir(folder, { recursive: true })).map((name) => join(below, name)));
      }
      for (const name of names) if (/^\..+\.\d+\.[0-9a-f]{8}\.tmp$/.test(basename(name))) await rm(join(this.path, name), { force: true });
    } catch (error) {
      throw new FormatError(this.path, `cannot be tidied up: ${errorMessage(error)}`, { cause: error });
    }
  }

  /** Finished attempts in the order of their lines. @throws FormatError */
  async attempts(): Promise<AttemptLine[]> {
    return (await exists(this.attemptsFile)) ? parseAttempts(this.attemptsFile, await readText(this.attemptsFile)) : [];
  }

  /** Opens attempts.jsonl for more lines; what a crash left of a torn line is cut off. @throws FormatError */
  openLog(): LineWriter {
    return openLineWriter(this.attemptsFile);
  }

  /** Opens base.jsonl for more lines, likewise. @throws FormatError */
  openBases(): LineWriter {
    return openLineWriter(this.basesFile);
  }

  /** Writes a file below the folder unless it has this content already. @throws FormatError */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const file = join(this.path, ...name.split("/"));
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    if ((await exists(file)) && Buffer.compare(bytes, await readBytes(file)) === 0) return;
    await writeFileAtomic(file, bytes);
  }

  /** The log of an attempt; empty if it is not there any more. @throws FormatError */
  async log(id: string): Promise<LogLine[]> {
    const folder = join(this.path, attemptFolder(id));
    return (await exists(join(folder, "attack.jsonl"))) ? readLog(folder) : [];
  }

  /** A picture by its path below the folder; undefined if it is not there. @throws FormatError if it is damaged */
  async picture(path: string): Promise<RgbImage | undefined> {
    const file = join(this.path, path);
    return (await exists(file)) ? decodePng(file, await readBytes(file)) : undefined;
  }

  /** attempts.jsonl with these lines and no others. @throws FormatError */
  async writeAttempts(lines: readonly AttemptLine[]): Promise<void> {
    await this.write("attempts.jsonl", lines.map(formatJsonLine).join(""));
  }

  /** The run.json of an attempt's own attack. @throws FormatError */
  async attemptRecord(id: string): Promise<RunRecord> {
    const file = join(this.path, attemptFolder(id), "run.json");
    return parseRecord(file, await readJson(file));
  }

  /** A cell's run.json, if it is there. @throws FormatError */
  async cellRecord(id: string): Promise<Partial<CellRecord> | undefined> {
    const file = join(this.path, "cells", id, "run.json");
    return (await exists(file)) ? ((await readJson(file)) as Partial<CellRecord>) : undefined;
  }

  /**
   * Writes run.json of every cell that has finished attempts, from what these attempts noted down.
   * @param command of a cell
   * @throws FormatError
   */
  async writeCells(manifest: Manifest, lines: readonly AttemptLine[], command: (cell: string) => string): Promise<void> {
    const done = new Set(lines.filter((line) => line.notAttackable === undefined).map((line) => line.id));
    for (const { attempts, ...cell } of manifest.cells) {
      const finished = attempts.filter((id) => done.has(id));
      const [first] = finished;
      if (first === undefined) continue;
      const files = new Map<string, FileRecord>();
      for (const id of finished) for (const f of (await this.attemptRecord(id)).files) files.set(`${f.role} ${f.path}`, f);
      const { settings, device, versions } = await this.attemptRecord(first);
      const { prompt: _prompt, seed: _seed, target: _target, ...shared } = settings;
      const record: CellRecord = {
        form: "lethe evaluation cell 1",
        ...cell,
        command: command(cell.id),
        evaluation: manifest.sha256,
        settings: shared,
        device,
        versions,
        files: [...files.values()],
        attempts: attempts.length,
        finished: finished.length,
      };
      await this.write(`cells/${cell.id}/run.json`, `${JSON.stringify(record, null, 1)}\n`);
    }
  }
}

/** The complete lines of an attack's log. @param folder the attack's own @throws FormatError */
export async function readLog(folder: string): Promise<LogLine[]> {
  const file = join(folder, "attack.jsonl");
  return parseJsonLines(file, await readText(file)).records as LogLine[];
}

/** Those with a picture. @throws FormatError if there is none */
export async function drawnLines(folder: string): Promise<DrawnLine[]> {
  const drawn = (await readLog(folder)).filter((line): line is DrawnLine => typeof line.image === "string");
  if (drawn.length === 0) throw new FormatError(join(folder, "attack.jsonl"), "has no line of a picture");
  return drawn;
}

function describeShard(shard: Shard | null): string {
  return shard ? `shard ${shard.index}/${shard.count}` : "the whole";
}
