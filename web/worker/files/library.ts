/** What can be loaded: what comes with the page, what this browser keeps, and what was dropped on the page. */
import { FormatError } from "../../../engine/formats/errors.ts";
import { type FileSystem, memoryFiles } from "../../../engine/formats/file-system.ts";
import type { Entry } from "../../protocol.ts";
import { BundledFiles, isOf } from "./bundled-files.ts";
import { type Received, copyInto } from "./download.ts";
import { type Found, findEntries } from "./recognise.ts";
import { type Work, sha256Told } from "./sha256.ts";
import { type Store, foldersWith, openStore } from "./store.ts";
import { type Unfinished, downloadModel, forget, removeFolder, unfinishedDownloads } from "./unfinished.ts";

/** The record of something kept, beside its files. */
interface Manifest {
  readonly form: "lethe stored model 1";
  readonly entry: Found;
  readonly source: string;
  readonly files: Readonly<Record<string, Received>>;
}

const RECORD = "manifest.json";

export class Library {
  /** Files dropped on the page or kept in the browser, by path. */
  private readonly blobs = new Map<string, Blob>();
  private readonly entriesById = new Map<string, Entry>();
  private readonly hashes = new Map<string, string>();
  private drops = 0;
  /** Paths opened since `watch` was last called. */
  private opened = new Set<string>();

  private constructor(readonly bundled: BundledFiles, private readonly store: Store) {}

  static async open(): Promise<Library> {
    const library = new Library(await BundledFiles.open(), await openStore("models"));
    await library.readStored();
    return library;
  }

  /** All files in one tree: "emoji/..." and "clip/..." bundled, "stored/..." and "dropped/..." the rest. */
  get files(): FileSystem {
    const own = (path: string): boolean => /^(stored|dropped)(\/|$)/.test(path);
    const blobs = (): FileSystem => memoryFiles(Object.fromEntries(this.blobs));
    const at = (path: string): FileSystem => (own(path) ? blobs() : this.bundled);
    return {
      kind: (path) => at(path).kind(path),
      list: (path) => at(path).list(path),
      open: (path) => {
        this.opened.add(path);
        return at(path).open(path);
      },
    };
  }

  /** Forgets which files have been opened; the next `used` tells those opened from now on. */
  watch(): void {
    this.opened = new Set();
  }

  used(): string[] {
    return [...this.opened].toSorted();
  }

  async entries(): Promise<Entry[]> {
    const bundled = await Promise.all(
      this.bundled.entries.map(async (found) =>
        this.entryOf(found, "bundled", this.bundled.paths(found.id), await this.bundled.keptBytes(found.id)),
      ),
    );
    return [...bundled, ...this.entriesById.values(), ...(await unfinishedDownloads(this.store)).map(unfinishedEntry)];
  }

  /** @throws FormatError for an id that is not there (any more) */
  async entry(id: string): Promise<Entry> {
    const found = (await this.entries()).find((e) => e.id === id);
    if (!found) throw new FormatError(id, "is not on this page any more: drop it again");
    return found;
  }

  private entryOf(
    { id, name, kind, part, detail }: Found,
    origin: Entry["origin"],
    files: readonly { readonly bytes: number }[],
    keptBytes: number,
  ): Entry {
    const bytes = files.reduce((sum, f) => sum + f.bytes, 0);
    return { id, name, kind, part, detail, origin, bytes, keptBytes, files: files.length };
  }

  /** Takes in dropped files by their path in what was dropped. @throws FormatError if nothing in them can be used */
  async drop(files: Readonly<Record<string, Blob>>): Promise<Entry[]> {
    const root = `dropped/${++this.drops}`;
    for (const [path, blob] of Object.entries(files)) this.blobs.set(`${root}/${path}`, blob);
    try {
      const found = await findEntries(this.files, root);
      const entries = found.map((one) => this.entryOf(one, "dropped", this.filesOf(one.id), 0));
      for (const entry of entries) this.entriesById.set(entry.id, entry);
      return entries;
    } catch (error) {
      for (const path of Object.keys(files)) this.blobs.delete(`${root}/${path}`);
      throw error;
    }
  }

  /**
   * Fetches a model and keeps it: a file, or a folder in diffusers layout. What came of one that is cut off is kept, and gone on with.
   * @param sha256 of a single file, or empty
   */
  async download(url: string, sha256: string, work: Work): Promise<Entry> {
    const { id, files } = await downloadModel(this.store, url, sha256, (name) => this.freshId(name), work);
    try {
      const entry = await this.keepFiles(id, url, files);
      await forget(this.store, id);
      return entry;
    } catch (error) {
      await this.remove(`stored/${id}`); // complete, and nothing that can be loaded
      throw error;
    }
  }

  /** Copies something dropped into the browser's own storage. */
  async keep(id: string, { signal, news }: Work): Promise<Entry> {
    const entry = await this.entry(id);
    const fresh = await this.freshId(entry.name);
    const hashes: Record<string, Received> = {};
    let before = 0;
    try {
      for (const { path } of this.filesOf(id)) {
        const blob = this.blobs.get(path)!;
        const name = path === id ? path.slice(path.lastIndexOf("/") + 1) : path.slice(id.length + 1);
        hashes[name] = await copyInto(this.store, `${fresh}/${name}`, blob.stream(), {
          signal,
          onBytes: (done) => news({ text: `keeping ${name}`, done: (before + done) / entry.bytes }),
        });
        before += blob.size;
      }
    } catch (error) {
      await removeFolder(this.store, fresh);
      throw error;
    }
    const kept = await this.keepFiles(fresh, `dropped ${entry.name}`, hashes);
    await this.remove(id);
    return kept;
  }

  private async keepFiles(id: string, source: string, files: Manifest["files"]): Promise<Entry> {
    await this.mount(id, files);
    const found = (await findEntries(this.files, `stored/${id}`))[0]!;
    const manifest: Manifest = { form: "lethe stored model 1", entry: { ...found, name: id, detail: found.detail }, source, files };
    await this.store.write(`${id}/${RECORD}`, JSON.stringify(manifest));
    return this.addStored(manifest);
  }

  private async mount(id: string, files: Manifest["files"]): Promise<boolean> {
    for (const [path, { bytes, sha256 }] of Object.entries(files)) {
      const blob = await this.store.read(`${id}/${path}`);
      if (blob?.size !== bytes) return false;
      this.blobs.set(`stored/${id}/${path}`, blob);
      this.hashes.set(`stored/${id}/${path}`, sha256);
    }
    return true;
  }

  private addStored({ entry, files, source }: Manifest): Entry {
    const bytes = Object.values(files).reduce((sum, f) => sum + f.bytes, 0);
    const made = this.entryOf(
      { ...entry, detail: `${entry.detail}; from ${source}` },
      "stored",
      Object.values(files),
      this.store.lasting ? bytes : 0,
    );
    this.entriesById.set(made.id, made);
    return made;
  }

  private async readStored(): Promise<void> {
    for (const id of await foldersWith(this.store, RECORD)) {
      const manifest = JSON.parse(await (await this.store.read(`${id}/${RECORD}`))!.text()) as Manifest;
      if (manifest.form === "lethe stored model 1" && (await this.mount(id, manifest.files))) this.addStored(manifest);
    }
  }

  /**
   * Reads everything again and compares it with what it should be.
   * @returns a sentence
   * @throws FormatError naming the file that is damaged
   */
  async check(id: string, work: Work): Promise<string> {
    const entry = await this.entry(id);
    if (entry.origin === "bundled") return this.bundled.check(id, work);
    const files = this.filesOf(id);
    for (const { path } of files) {
      const known = this.hashes.get(path);
      const actual = await sha256Told(this.blobs.get(path)!, path, work);
      if (known !== undefined && known !== actual) {
        throw new FormatError(
          path,
          `has SHA-256 ${actual}, but had ${known} when it was stored: it is damaged; delete it and load it again`,
        );
      }
      this.hashes.set(path, actual);
    }
    const count = files.length;
    return entry.origin === "stored"
      ? `${count} ${count === 1 ? "file is" : "files are"} unchanged since they were stored`
      : `SHA-256 of ${count} ${count === 1 ? "file" : "files"} computed`;
  }

  async remove(id: string): Promise<void> {
    if (!/^(stored|dropped)\//.test(id)) return this.bundled.forget(id);
    for (const { path } of this.filesOf(id)) this.blobs.delete(path);
    this.entriesById.delete(id);
    const [origin, folder] = id.split("/");
    if (origin === "stored") await removeFolder(this.store, folder!);
  }

  /** Size and SHA-256 of a file, computed where it is not known. */
  async fileRecord(path: string, work: Work): Promise<Received> {
    const blob = this.blobs.get(path);
    if (!blob) return this.bundled.fileRecord(path);
    const sha256 = this.hashes.get(path) ?? (await sha256Told(blob, `checksum of ${path}`, work));
    this.hashes.set(path, sha256);
    return { bytes: blob.size, sha256 };
  }

  private filesOf(id: string): { path: string; bytes: number }[] {
    return [...this.blobs].filter(([path]) => isOf(path, id)).map(([path, blob]) => ({ path, bytes: blob.size }));
  }

  private async freshId(name: string): Promise<string> {
    const base = name.replace(/[^\w.-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "model";
    const names = await this.store.names();
    for (let n = 1; ; n++) {
      const id = n === 1 ? base : `${base}-${n}`;
      if (!names.some((other) => other.startsWith(`${id}/`))) return id;
    }
  }
}

/** A download that was cut off, as an entry that can be gone on with or deleted. */
function unfinishedEntry({ id, url, sha256, keptBytes, bytes, files }: Unfinished): Entry {
  return {
    id: `stored/${id}`,
    name: id,
    kind: "unfinished",
    part: "unet",
    detail: `from ${url}`,
    origin: "stored",
    bytes,
    keptBytes,
    files,
    download: { url, sha256 },
  };
}
