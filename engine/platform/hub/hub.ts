/**
 * Models from the hub: `ORG/NAME` becomes a folder on the disk that holds the files loading needs, in the cache that the field's own tools
 * use.
 * What is there already, from us or from them, is not fetched again, and what is fetched here serves them too.
 */
import { quote } from "../../formats/errors.ts";
import { UsageError } from "../../runtime/errors.ts";
import { HubCache, isCommit, isContentHash, isHubId, isSafePath } from "./cache.ts";
import { type FileMetadata, HubClient } from "./client.ts";
import { fetchBlob } from "./download.ts";
import { HubError } from "./error.ts";
import { type Listing, parseListing } from "./listing.ts";
import { type SelectOptions, type Selection, selectFiles } from "./select.ts";
import { type Environment, type HubSettings, hubSettings } from "./settings.ts";

export { HubError, type HubErrorKind } from "./error.ts";
export { isHubId } from "./cache.ts";

const PARALLEL = 4;
const ATTEMPTS = 5;
const BACKOFF_MS = 500;
/** With the cache to fall back on, the hub is not waited for as long. */
const IMPATIENT_MS = 10_000;
/** How often a file may change under a download. */
const MAX_CHANGES = 2;

export interface HubProgress {
  /** The file that bytes have just arrived for. */
  readonly file: string;
  /** Bytes there are, those of earlier attempts included, of `total` in all weight files not cached yet. */
  readonly done: number;
  readonly total: number;
}

export interface HubOptions extends SelectOptions {
  /** A branch, tag or commit; default "main". */
  readonly revision?: string | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Pauses before another attempt, waiting for another process, use of the cache because the hub cannot be reached. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** Aborts the download; what has arrived is kept for the next one. */
  readonly signal?: AbortSignal | undefined;
  /** Default: process.env. */
  readonly environment?: Environment | undefined;
  /** Connections in a row that may fail without a byte arriving, and the pause after the first. */
  readonly attempts?: number | undefined;
  readonly backoffMs?: number | undefined;
}

export interface HubModel {
  /** The snapshot's folder. */
  readonly folder: string;
  readonly commit: string;
  /** Files of the repository that were wanted, all of which are there. A repository of one checkpoint has just that. */
  readonly files: readonly string[];
  /** Bytes of files that came over the network now. */
  readonly fetchedBytes: number;
}

/**
 * Makes a model of the hub available on the disk.
 * @throws UsageError for an id or a revision that is none; HubError saying what the hub answered and what to do; AbortError.
 */
export async function resolveHubModel(id: string, options: HubOptions = {}): Promise<HubModel> {
  if (!isHubId(id)) {
    throw new UsageError(`${quote(id)} is not a name of a hub model: expected ORG/NAME of letters, digits, "-", "_" and "."`);
  }
  const settings = hubSettings(options.environment);
  const revision = options.revision ?? "main";
  if (!isSafePath(revision)) throw new UsageError(`revision ${quote(revision)} is not a name of a branch, tag or commit`);
  const cached = (): Promise<HubModel> => new Resolution(id, revision, settings, options).fromCache();
  if (settings.offline) return cached();
  const fallback = await cached().catch(() => undefined); // whatever is wrong with the copy, a new one mends it
  if (fallback && isCommit(revision)) return fallback; // a commit never changes
  const resolution = new Resolution(
    id,
    revision,
    fallback ? { ...settings, timeoutMs: Math.min(settings.timeoutMs, IMPATIENT_MS) } : settings,
    fallback ? { ...options, attempts: 1 } : options,
  );
  let listing: Listing;
  try {
    listing = await resolution.list();
  } catch (error) {
    if (!fallback || !(error instanceof HubError)) throw error;
    options.onNote?.(`${error.message}; using the copy in the cache (commit ${fallback.commit.slice(0, 8)})`);
    return fallback;
  }
  return new Resolution(id, revision, settings, options).fetch(listing);
}

/** One model being resolved. */
class Resolution {
  private readonly cache: HubCache;
  private readonly client: HubClient;
  private readonly failed = new AbortController();
  private readonly signal: AbortSignal;
  private fetchedBytes = 0;

  constructor(
    private readonly id: string,
    private readonly revision: string,
    private readonly settings: HubSettings,
    private readonly options: HubOptions,
  ) {
    this.cache = new HubCache(settings, id);
    this.signal = options.signal ? AbortSignal.any([options.signal, this.failed.signal]) : this.failed.signal;
    this.client = new HubClient(settings, {
      signal: this.signal,
      attempts: options.attempts ?? ATTEMPTS,
      backoffMs: options.backoffMs ?? BACKOFF_MS,
      onRetry: (reason, seconds) => this.note(`${reason}; trying again in ${seconds.toFixed(1)} s`),
    });
  }

  private note(text: string): void {
    this.options.onNote?.(text);
  }

  /** What the cache has, if that is all that is wanted. Asks nobody. @throws HubError otherwise */
  async fromCache(): Promise<HubModel> {
    const where = `${this.id}: ${this.settings.offline ? "HF_HUB_OFFLINE is set, and the" : "the"} cache ${quote(this.settings.cache)}`;
    const commit = await this.cache.commitOf(this.revision);
    const sizes = commit === undefined ? undefined : await this.cache.files(commit);
    if (commit === undefined || !sizes || sizes.size === 0) {
      throw new HubError("offline", `${where} has no revision ${quote(this.revision)} of it`);
    }
    const names = new Set(sizes.keys());
    const require = (files: readonly string[]): Promise<void> => {
      const missing = files.filter((file) => !names.has(file));
      return missing.length === 0 ? Promise.resolve() : Promise.reject(new HubError("offline", `${where} lacks ${missing.join(", ")}`));
    };
    try {
      const { small, weights } = await this.select(commit, names, require);
      await require(weights);
      return { folder: this.cache.snapshot(commit), commit, files: [...small, ...weights], fetchedBytes: 0 };
    } catch (error) {
      if (error instanceof HubError && error.kind === "not-found") {
        throw new HubError("offline", `${where} is incomplete: ${error.message}`, { cause: error });
      }
      throw error;
    }
  }

  /** The repository's files at the revision. @throws HubError */
  async list(): Promise<Listing> {
    const { endpoint } = this.settings;
    const answer = await this.named(
      this.client.json(`${endpoint}/api/models/${this.id}/revision/${encodeURIComponent(this.revision)}?blobs=true`),
    );
    const listing = parseListing(answer);
    if (listing) return listing;
    throw new HubError("network", `${this.id}: ${endpoint} answers without a commit and a list of files; is HF_ENDPOINT right?`);
  }

  /** Fetches what is wanted and not there. @throws HubError */
  async fetch(listing: Listing): Promise<HubModel> {
    const { commit } = listing;
    const names = new Set(listing.entries.keys());
    const { small, weights } = await this.select(commit, names, (files) => this.fetchAll(listing, files, () => undefined));
    await this.fetchAll(listing, weights, await this.progress(listing, weights));
    await this.cache.noteCommit(this.revision, commit); // last: what a branch points to is complete
    return { folder: this.cache.snapshot(commit), commit, files: [...small, ...weights], fetchedBytes: this.fetchedBytes };
  }

  /** Decides which files are wanted; `get` provides the small ones among them, which name the rest. */
  private select(commit: string, all: ReadonlySet<string>, get: (files: readonly string[]) => Promise<void>): Promise<Selection> {
    return selectFiles({ id: this.id, revision: this.revision, snapshot: this.cache.snapshot(commit), names: all, get }, this.options);
  }

  /** Adds up the bytes of all files under way. */
  private async progress(listing: Listing, files: readonly string[]): Promise<(file: string, position: number) => void> {
    const missing: string[] = [];
    for (const file of files) if (!(await this.cache.has(listing.commit, file, listing.entries.get(file)?.size))) missing.push(file);
    const total = missing.reduce((sum, file) => sum + (listing.entries.get(file)?.size ?? 0), 0);
    const positions = new Map<string, number>();
    let done = 0;
    return (file, position) => {
      done += position - (positions.get(file) ?? 0);
      positions.set(file, position);
      this.options.onProgress?.({ file, done, total: Math.max(total, done) });
    };
  }

  /** All files, a few at a time. The first failure stops the others, which keep what they have. */
  private async fetchAll(listing: Listing, files: readonly string[], onBytes: (file: string, position: number) => void): Promise<void> {
    const queue = [...files];
    const errors: unknown[] = [];
    const worker = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined && errors.length === 0; file = queue.shift()) {
        try {
          await this.named(this.fetchFile(listing, file, onBytes), file);
        } catch (error) {
          errors.push(error);
          this.failed.abort();
        }
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
    this.options.signal?.throwIfAborted();
    if (errors.length > 0) throw errors[0];
  }

  private async fetchFile(listing: Listing, file: string, onBytes: (file: string, position: number) => void): Promise<void> {
    const { commit, entries } = listing;
    const entry = entries.get(file);
    if (await this.cache.has(commit, file, entry?.size)) return;
    const address = `${this.settings.endpoint}/${this.id}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`;
    for (let changes = 0; ; changes++) {
      const told: FileMetadata = await this.client.metadata(address);
      if (told.commit !== undefined && told.commit !== commit) {
        throw new HubError("network", `asked for commit ${commit}, the hub answers for ${quote(told.commit)}`);
      }
      const etag = told.etag !== undefined && isContentHash(told.etag) ? told.etag : (entry?.hash ?? told.etag ?? "");
      const request = {
        client: this.client,
        address,
        label: `${this.id}/${file}`,
        etag,
        size: told.size ?? entry?.size,
        blob: this.cache.blob(etag),
        lock: this.cache.lock(etag),
      };
      try {
        const fetched = await fetchBlob({ ...request, onBytes: (position) => onBytes(file, position), onNote: (note) => this.note(note) });
        this.fetchedBytes += fetched ?? 0;
        return await this.cache.show(commit, file, etag, fetched !== undefined);
      } catch (error) {
        if (!(error instanceof HubError) || error.kind !== "changed" || changes >= MAX_CHANGES) throw error;
        this.note(`${error.message}; asking again`);
      }
    }
  }

  /** Names the model (and file) in errors that do not. */
  private async named<T>(work: Promise<T>, file?: string): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const name = file === undefined ? this.id : `${this.id}/${file}`;
      if (!(error instanceof HubError) || error.message.startsWith(this.id)) throw error;
      throw new HubError(error.kind, `${name}: ${error.message}`, { cause: error });
    }
  }
}
