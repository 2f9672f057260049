import { join } from "node:path";
import { FormatError } from "../../../engine/formats/errors.ts";
import { asObject, decodeText, parseJson } from "../../../engine/formats/file-system.ts";
import type { Store } from "../../../engine/formats/store.ts";
import { parseCaptions } from "../../../engine/metrics/quality/captions.ts";
import { QUALITY_FILES } from "../../../engine/metrics/quality/kinds.ts";
import { folderStore } from "../../../engine/platform/folder-store.ts";
import { resolvePath } from "../../../engine/platform/model-source-node.ts";
import { readText } from "../../../engine/platform/node-files.ts";
import type { Manifest } from "../../../engine/run/leaderboard/manifest.ts";
import { type QualityScores, qualityFolder, scoresByCheckpoint } from "../../../engine/run/leaderboard/quality.ts";
import { shownPath } from "../../../engine/run/text/local-paths.ts";
import { exists } from "../../output.ts";
import { type QualityRecord, RESULT_FILE, readRecord } from "../../quality/record.ts";

/** A quality run's result.json; undefined before it is done. @throws FormatError */
export async function readResult(store: Store): Promise<Readonly<Record<string, unknown>> | undefined> {
  const bytes = await store.read(RESULT_FILE);
  const file = store.nameOf(RESULT_FILE);
  return bytes && asObject(file, parseJson(file, decodeText(file, bytes)));
}

/** Pictures that a report shows of a checkpoint. */
const SHOWN = 8;

/**
 * The scores of an evaluation's checkpoints, those that are done; of a shard none, whose scores come with the merge.
 * @throws FormatError; InputError for scores of different features
 */
export async function readQuality(folder: string, quality: Manifest["quality"] = []): Promise<ReadonlyMap<string, QualityScores>> {
  const found: QualityScores[] = [];
  for (const entry of quality) {
    const below = qualityFolder(entry.checkpoint);
    const store = folderStore(join(folder, below));
    const [record, result] = [await readRecord(store), await readResult(store)];
    if (!record || !result || record.shard) continue;
    const value = <T>(name: string): T | null => (result[name] ?? null) as T | null;
    const isFid = record.network?.distanceName !== "Frechet distance";
    const { real, statistics } = record.settings;
    const against = statistics ?? real;
    found.push({
      ...entry,
      distanceName: isFid ? "FID" : "Frechet distance",
      features: record.network?.name ?? null,
      count: value<number>("count") ?? 0,
      total: record.total.generated,
      realCount: value("realCount"),
      comparedWith: typeof against === "string" ? shownPath(against) : null,
      unreadable: value<number>("unreadable") ?? 0,
      frechet: value(isFid ? "fid" : "frechetDistance"),
      frechetInterval: value(isFid ? "fidInterval" : "frechetInterval"),
      reference: value("reference"),
      kid: value("kid"),
      kidStd: value("kidStd"),
      clipScore: value("clipScore"),
      clipInterval: value("clipInterval"),
      warnings: value<string[]>("warnings") ?? [],
      pictures: await picturesOf(folder, below, record),
    });
  }
  return scoresByCheckpoint(found);
}

/** A few pictures that a run drew, evenly over its captions; none where captions or pictures are not there any more. */
async function picturesOf(folder: string, below: string, { settings, total }: QualityRecord): Promise<QualityScores["pictures"]> {
  const { captions: table, model } = settings;
  if (typeof table !== "string" || typeof model !== "string") return [];
  const file = resolvePath(table);
  const captions = (await exists(file)) ? await readText(file).then((text) => parseCaptions(file, text)).catch(ifDamaged) : [];
  const rows = captions.slice(0, total.generated);
  const step = Math.max(1, rows.length / SHOWN);
  const shown: { prompt: string; image: string }[] = [];
  for (let at = 0; at < rows.length && shown.length < SHOWN; at += step) {
    const { file: name, prompt } = rows[Math.floor(at)]!;
    const image = `${below}/${QUALITY_FILES.picture(name)}`;
    if (await exists(join(folder, image))) shown.push({ prompt, image });
  }
  return shown;
}

/** The captions have changed since: the scores still hold. */
function ifDamaged(error: unknown): [] {
  if (error instanceof FormatError) return [];
  throw error;
}
