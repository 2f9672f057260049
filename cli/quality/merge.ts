import { FormatError } from "../../engine/formats/errors.ts";
import type { Store } from "../../engine/formats/store.ts";
import { readStatistics } from "../../engine/metrics/distance/statistics-file.ts";
import { type LoggedPicture, featureLine, readFeatureLog } from "../../engine/metrics/quality/feature-log.ts";
import { QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import { QUALITY_FILES, type QualityOptions, type SetName } from "../../engine/metrics/quality/kinds.ts";
import { scored } from "../../engine/metrics/quality/scored.ts";
import { pick } from "../../engine/options/values.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import type { Context } from "../context.ts";
import { partFolders } from "../evaluate/shard.ts";
import { type QualityRecord, RECORD_FILE, readRecord } from "./record.ts";
import { resultJson, resultText, writeResult } from "./result.ts";
import type { Scored } from "./score.ts";

/** A quality run, whole or one part of it. */
export interface Part {
  readonly store: Store;
  readonly record: QualityRecord;
  /** Where its real pictures' features are, if not in `store`. */
  readonly realStore?: Store;
}

/** The quality runs in the folders named, or one level below them. @throws FormatError for a folder that cannot be listed */
export async function qualityParts(names: readonly string[]): Promise<Part[]> {
  const parts: Part[] = [];
  for (const name of names) {
    for (const path of await partFolders(name)) {
      const store = folderStore(path);
      const record = await readRecord(store);
      if (record) parts.push({ store, record });
    }
  }
  return parts;
}

/**
 * Puts the parts of one quality run together: their features by picture, so that the scores are to the last bit those of one process.
 * @throws UsageError for parts of different runs; FormatError for parts that contradict each other
 */
export async function mergeQuality(parts: readonly Part[], out: string, context: Context): Promise<void> {
  const { record, result, json } = await mergeParts(parts, folderStore(out), context);
  context.result({ ...json, out }, resultText(record, result));
}

/** The same for parts that belong to something larger. @param realStore where the real pictures' features go, if not to `store` */
export async function mergeParts(parts: readonly Part[], store: Store, context: Context, realStore: Store = store): Promise<Scored> {
  const started = performance.now();
  const [first] = parts as readonly [Part, ...Part[]];
  const { record } = first;
  const other = parts.find((part) => part.record.plan !== record.plan);
  if (other) {
    throw new UsageError(
      `${other.store.nameOf(RECORD_FILE)} is of another run than ${first.store.nameOf(RECORD_FILE)}: their pictures, network or settings ` +
        "differ",
    );
  }
  const dims = record.network?.dims;
  const taken = {
    generated: await together(parts, "generated", dims),
    real: record.total.real === null ? new Map<string, LoggedPicture>() : await together(parts, "real", dims),
  };
  for (const set of ["generated", "real"] as const) {
    const missing = (record.total[set] ?? 0) - taken[set].size;
    if (missing > 0) {
      context.warn(`${missing} of ${record.total[set]} ${set} pictures are missing from the folders: the scores count the others only`);
    }
    const file = QUALITY_FILES.logs[set];
    const to = set === "real" ? realStore : store;
    if (taken[set].size > 0) await to.write(file, [...taken[set].values()].map((p) => `${featureLine(p)}\n`).join(""));
  }
  const whole: QualityRecord = { ...record, shard: null };
  await store.write(RECORD_FILE, `${JSON.stringify(whole, null, 1)}\n`);
  const statistics = record.statistics;
  const options: QualityOptions = {
    ...pick(QUALITY_OPTIONS, record.settings),
    real: statistics !== null
      ? { name: statistics, statistics: await readStatistics(nodeFiles, resolvePath(statistics)) }
      : record.total.real === null ? undefined : [],
    store,
  };
  const result = await context.withProgress("scoring", (progress) =>
    scored({ ...options, network: record.network ?? undefined }, taken, (event) => {
      if (event.type === "score") progress.update(event.done / event.total, `${event.what} ${event.done}/${event.total}`);
    }),
  );
  const json = { ...resultJson(whole, result, store), seconds: (performance.now() - started) / 1000, adapter: null };
  await writeResult(context, store, json, result);
  return { record: whole, result, json };
}

/** A set's pictures of all parts. @throws FormatError where two parts have other features of one picture */
async function together(parts: readonly Part[], set: SetName, dims: number | undefined): Promise<Map<string, LoggedPicture>> {
  const all = new Map<string, LoggedPicture>();
  for (const part of parts) {
    const store = (set === "real" ? part.realStore : undefined) ?? part.store;
    const file = QUALITY_FILES.logs[set];
    for (const [name, picture] of await readFeatureLog(store, file, dims)) {
      const before = all.get(name);
      if (before && featureLine(before) !== featureLine(picture)) {
        throw new FormatError(
          store.nameOf(file),
          `${name} has other features than in another part: were they made on different adapters? Merge one of the two`,
        );
      }
      all.set(name, picture);
    }
  }
  return all;
}
