/** Models on their way from a web server into the store: a record beside the files tells how to go on, in this visit or another. */
import { type Received, type Version, download, sameVersion } from "./download.ts";
import { planRemote } from "./remote-model.ts";
import type { Work } from "./sha256.ts";
import { type Store, foldersWith } from "./store.ts";

interface UnfinishedFile extends Version {
  /** Once it is complete. */
  readonly sha256?: string;
}

interface UnfinishedRecord {
  readonly form: "lethe unfinished download 1";
  readonly url: string;
  /** Of a single file, as the user gave it, or empty. */
  readonly sha256: string;
  readonly files: Record<string, UnfinishedFile>;
}

export interface Unfinished {
  /** The folder of its files. */
  readonly id: string;
  readonly url: string;
  readonly sha256: string;
  readonly keptBytes: number;
  /** Bytes in all, as far as the server has told. */
  readonly bytes: number;
  readonly files: number;
}

const RECORD = "unfinished.json";

/** Downloads that were cut off. */
export async function unfinishedDownloads(store: Store): Promise<Unfinished[]> {
  const found: Unfinished[] = [];
  for (const id of await foldersWith(store, RECORD)) {
    const record = await readRecord(store, id);
    if (!record) continue;
    let keptBytes = 0;
    for (const path of Object.keys(record.files)) keptBytes += (await store.read(`${id}/${path}`))?.size ?? 0;
    const versions = Object.values(record.files);
    found.push({
      id,
      url: record.url,
      sha256: record.sha256,
      keptBytes,
      bytes: versions.reduce((sum, v) => sum + (v.bytes ?? 0), 0),
      files: versions.length,
    });
  }
  return found;
}

async function readRecord(store: Store, id: string): Promise<UnfinishedRecord | undefined> {
  const blob = await store.read(`${id}/${RECORD}`);
  if (!blob) return undefined;
  const record = JSON.parse(await blob.text()) as Partial<UnfinishedRecord>;
  return record.form === "lethe unfinished download 1" ? (record as UnfinishedRecord) : undefined;
}

/**
 * Fetches a file or a folder in diffusers layout into the store, going on with what an earlier call left of the same address.
 * What has come stays when it fails, and is gone on with by the next call; nothing is left where nothing came. `forget` ends the record.
 * @param freshId makes a folder's name of a model's name
 * @throws as `download`; FormatError for an address that is none
 */
export async function downloadModel(
  store: Store,
  url: string,
  sha256: string,
  freshId: (name: string) => Promise<string>,
  { signal, news }: Work,
): Promise<{ id: string; files: Record<string, Received> }> {
  const { name, files } = await planRemote(url, signal);
  const earlier = (await unfinishedDownloads(store)).find((u) => u.url === url);
  const id = earlier?.id ?? (await freshId(name));
  const before = earlier && (await readRecord(store, id));
  const record: UnfinishedRecord = { form: "lethe unfinished download 1", url, sha256, files: {} };
  for (const { path, version } of files) {
    const kept = before?.files[path];
    // A file that has changed on the server since starts anew: its record is left out.
    record.files[path] = kept && (sha256 !== "" || sameVersion(kept, version)) ? kept : { bytes: version.bytes };
  }
  const save = (): Promise<void> => store.write(`${id}/${RECORD}`, JSON.stringify(record));
  await save();
  const total = Object.values(record.files).reduce((sum, f) => sum + (f.bytes ?? 0), 0);
  const done: Record<string, Received> = {};
  let past = 0;
  try {
    for (const file of files) {
      const { path } = file;
      const { sha256: known, bytes, ...rest } = record.files[path]!;
      if (known !== undefined && bytes !== undefined && (await store.read(`${id}/${path}`))?.size === bytes) {
        done[path] = { bytes, sha256: known };
      } else {
        const received = await download(file.url, store, `${id}/${path}`, {
          signal,
          ...(Object.keys(rest).length > 0 && { version: { bytes, ...rest } }),
          expected: files.length === 1 && sha256 !== "" ? { sha256 } : {},
          onVersion: async (version) => {
            record.files[path] = version;
            await save();
          },
          onBytes: (n, all) =>
            news({
              text: `${path}: ${megabytes(n)}${all ? ` of ${megabytes(all)}` : ""}`,
              ...(total > 0 && { done: Math.min(1, (past + n) / total) }),
            }),
          onNote: (text) => news({ text: `${path}: ${text}` }),
        });
        done[path] = received;
        record.files[path] = { ...record.files[path], ...received };
        await save();
      }
      past += done[path]!.bytes;
    }
    return { id, files: done };
  } catch (error) {
    const left = (await unfinishedDownloads(store)).find((u) => u.id === id);
    if (!left?.keptBytes) await removeFolder(store, id);
    throw error;
  }
}

/** Ends the record of a download that is complete and listed elsewhere. */
export function forget(store: Store, id: string): Promise<void> {
  return store.remove(`${id}/${RECORD}`);
}

export async function removeFolder(store: Store, id: string): Promise<void> {
  for (const name of await store.names()) if (name.startsWith(`${id}/`)) await store.remove(name);
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
