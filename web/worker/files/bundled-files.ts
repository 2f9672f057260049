import { blobSource, type ByteSource } from "../../../engine/formats/byte-source.ts";
import { FormatError } from "../../../engine/formats/errors.ts";
import { type FileSystem, memoryFiles } from "../../../engine/formats/file-system.ts";
import type { Progress } from "../../protocol.ts";
import { type Received, download } from "./download.ts";
import type { Found } from "./recognise.ts";
import { type Work, sha256Blob, sha256Told } from "./sha256.ts";
import { type Store, openStore } from "./store.ts";

const UNLEARNED: Readonly<Record<string, string>> = {
  "esd-x-church": "church erased by ESD-x",
  "esd-u-church": "church erased by ESD-u",
  "uce-like-church": "church erased in the manner of UCE",
  "advunlearn-like-church": "church erased in the manner of AdvUnlearn",
  "uce-like-fish": "fish erased in the manner of UCE",
  "uce-like-twemoji-style": "twemoji style erased in the manner of UCE",
};

/** The files that come with the page: fetched when they are first opened, checked, and kept. */
export class BundledFiles implements FileSystem {
  private readonly pending = new Map<string, Promise<Blob>>();
  /** The files' names. */
  private readonly tree: FileSystem;
  /** Told what is being fetched. */
  onProgress: (progress: Progress) => void = () => undefined;

  private constructor(private readonly listed: ReadonlyMap<string, Received>, private readonly store: Store) {
    this.tree = memoryFiles(Object.fromEntries([...listed.keys()].map((name) => [name, ""])));
  }

  /** @throws FormatError if the page's own list of files is missing */
  static async open(): Promise<BundledFiles> {
    const response = await fetch("assets.json");
    if (!response.ok) throw new FormatError("assets.json", `the server answers ${response.status}: the page is not complete`);
    return new BundledFiles(new Map(Object.entries((await response.json()) as Record<string, Received>)), await openStore("bundled"));
  }

  get entries(): Found[] {
    const names = [...this.listed.keys()];
    const overlays = names.filter((n) => n.startsWith("emoji/unlearned/") && /\.(safetensors|pt)$/.test(n));
    return [
      { id: "emoji", name: "emoji", kind: "model", part: "unet", detail: "24 things as 64x64 emoji, a small Stable Diffusion 1.x" },
      ...overlays.map((id): Found => {
        const name = id.split("/")[2]!;
        return { id, name, kind: "overlay", part: /text_encoder/.test(id) ? "textEncoder" : "unet", detail: UNLEARNED[name] ?? "" };
      }),
      {
        id: "emoji/classifier/object",
        name: "emoji-object",
        kind: "classifier",
        part: "unet",
        detail: "which of 48 things a picture shows",
      },
      { id: "emoji/classifier/style", name: "emoji-style", kind: "classifier", part: "unet", detail: "which of 5 vendors drew it" },
    ];
  }

  /** Names of the files below a folder. */
  below(folder: string): string[] {
    return [...this.listed.keys()].filter((name) => name.startsWith(folder));
  }

  /** The files of an entry. The model's are those of its components. */
  paths(id: string): ({ path: string } & Received)[] {
    const own = id === "emoji" ? /^emoji\/(model_index\.json|(text_encoder|tokenizer|unet|vae|scheduler)\/.*)$/ : undefined;
    return [...this.listed]
      .filter(([path]) => (own ? own.test(path) : isOf(path, id)))
      .map(([path, listed]) => ({ path, ...listed }));
  }

  kind(path: string): Promise<"file" | "folder" | undefined> {
    return this.tree.kind(path);
  }

  list(path: string): Promise<string[]> {
    return this.tree.list(path);
  }

  async open(path: string): Promise<ByteSource> {
    return blobSource(path, await this.blob(path));
  }

  /** @throws FormatError */
  fileRecord(path: string): Received {
    const listed = this.listed.get(path);
    if (!listed) throw new FormatError(path, "no such file");
    return listed;
  }

  private blob(path: string): Promise<Blob> {
    let blob = this.pending.get(path);
    if (!blob) {
      blob = this.load(path);
      this.pending.set(path, blob);
      blob.catch(() => this.pending.delete(path)); // so that it can be tried again
    }
    return blob;
  }

  /** One tab of the page fetches a file, the others wait for it. */
  private load(path: string): Promise<Blob> {
    const work = (): Promise<Blob> => this.fetch(path);
    return navigator.locks ? navigator.locks.request(`lethe-bundled ${path}`, work) : work();
  }

  private async fetch(path: string): Promise<Blob> {
    const expected = this.fileRecord(path);
    const kept = await this.store.read(path);
    if (kept?.size === expected.bytes && (await sha256Blob(kept)) === expected.sha256) return kept;
    const onNote = (text: string): void => this.onProgress({ text: `${path}: ${text}` });
    onNote("fetching");
    await download(`assets/${path.split("/").map(encodeURIComponent).join("/")}`, this.store, path, {
      expected,
      onNote,
      onBytes: (done) => this.onProgress({ text: `fetching ${path}`, done: done / expected.bytes }),
    });
    return (await this.store.read(path))!;
  }

  async keptBytes(id: string): Promise<number> {
    if (!this.store.lasting) return 0;
    const names = new Set(await this.store.names());
    return this.paths(id).reduce((sum, { path, bytes }) => sum + (names.has(path) ? bytes : 0), 0);
  }

  /** @throws FormatError naming a file that is not what it should be */
  async check(id: string, work: Work): Promise<string> {
    const paths = this.paths(id);
    for (const { path, sha256 } of paths) {
      const actual = await sha256Told(await this.blob(path), path, work);
      if (actual !== sha256) {
        throw new FormatError(path, `has SHA-256 ${actual} instead of ${sha256}: it is damaged; delete it, and it will be fetched again`);
      }
    }
    return `${paths.length} ${paths.length === 1 ? "file is" : "files are"} as published`;
  }

  async forget(id: string): Promise<void> {
    for (const { path } of this.paths(id)) {
      this.pending.delete(path);
      await this.store.remove(path);
    }
  }
}

/** Whether a path is an entry's, which is a file or a folder. */
export function isOf(path: string, id: string): boolean {
  return path === id || path.startsWith(`${id}/`);
}
