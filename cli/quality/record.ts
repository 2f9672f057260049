import { createHash } from "node:crypto";
import { FormatError } from "../../engine/formats/errors.ts";
import { asObject, decodeText, parseJson } from "../../engine/formats/file-system.ts";
import type { Store } from "../../engine/formats/store.ts";
import { QUALITY_FILES } from "../../engine/metrics/quality/kinds.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { UsageError } from "../../engine/runtime/errors.ts";

export const RECORD_FILE = "quality.json";
export const RESULT_FILE = "result.json";
const FORM = "lethe quality 1";

/** What a quality run is, as quality.json keeps it. */
export interface QualityRecord {
  readonly form: typeof FORM;
  readonly lethe: string;
  /** Hash of all that decides the features: shards that are merged and runs that are gone on with have the same. */
  readonly plan: string;
  readonly command: string;
  /** Features and score options, and what was scored. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly network: {
    readonly name: string;
    readonly dims: number;
    readonly distanceName: "FID" | "Frechet distance";
    readonly meanPrecision: "float32" | "float64";
    readonly recipe: string | null;
  } | null;
  /** Pictures of all shards. */
  readonly total: { readonly generated: number; readonly real: number | null };
  /** A file of statistics that the pictures are compared with. */
  readonly statistics: string | null;
  readonly shard: Shard | null;
}

export function newRecord(fields: Omit<QualityRecord, "form" | "plan">, decides: unknown): QualityRecord {
  return { form: FORM, plan: createHash("sha256").update(JSON.stringify(decides)).digest("hex"), ...fields };
}

/** The record in a folder; undefined if there is none. @throws FormatError for anything else under its name */
export async function readRecord(store: Store): Promise<QualityRecord | undefined> {
  const bytes = await store.read(RECORD_FILE);
  if (!bytes) return undefined;
  const file = store.nameOf(RECORD_FILE);
  const value = asObject(file, parseJson(file, decodeText(file, bytes)));
  if (value["form"] !== FORM) throw new FormatError(file, "is not a record of a quality run that this version can go on with");
  return value as unknown as QualityRecord;
}

/**
 * Takes a folder for a run: a new one, or one whose earlier run is gone on with or overwritten.
 * @param pictures names of the pictures that the run draws
 * @throws UsageError for a folder with a run that is to be neither
 */
export async function claim(
  store: Store,
  record: QualityRecord,
  { resume, overwrite }: { readonly resume?: boolean | undefined; readonly overwrite?: boolean | undefined },
  pictures: readonly string[],
): Promise<void> {
  const before = await readRecord(store);
  const where = store.nameOf(RECORD_FILE);
  if (before && overwrite) {
    const files = [RECORD_FILE, RESULT_FILE, QUALITY_FILES.statistics, ...Object.values(QUALITY_FILES.logs)];
    for (const file of [...files, ...pictures.map(QUALITY_FILES.picture)]) await store.remove(file);
  } else if (before) {
    if (before.plan !== record.plan) {
      throw new UsageError(`${where} is of another run: its pictures, network or settings differ; give another --out, or --overwrite`);
    }
    if (!resume) throw new UsageError(`${where} is there already: add --resume to go on with that run, or --overwrite`);
  } else if (!overwrite && (await store.read(QUALITY_FILES.logs.generated))) {
    const log = store.nameOf(QUALITY_FILES.logs.generated);
    throw new UsageError(`${log} is there without a ${RECORD_FILE}: give another --out, or --overwrite`);
  }
  await store.write(RECORD_FILE, `${JSON.stringify(record, null, 1)}\n`);
}
