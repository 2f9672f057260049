/**
 * The folder in which the field's tools keep hub models:
 *
 *     models--ORG--NAME/refs/main              the commit the branch was at
 *     models--ORG--NAME/blobs/ETAG             a file's bytes, named by their hash
 *     models--ORG--NAME/snapshots/COMMIT/...   the repository's tree: relative links into blobs
 *     .locks/models--ORG--NAME/
 *
 * A link is made only once its blob is complete and checked, so whatever a snapshot shows is whole, whenever a process was killed.
 * Source: huggingface_hub's guide "Understand caching" and its file_download.py.
 */
import { constants } from "node:fs";
import { copyFile, link, mkdir, readdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { quote } from "../../formats/errors.ts";
import { diskError, HubError } from "./error.ts";
import type { HubSettings } from "./settings.ts";
import { codeOf, writeFileAtomic } from "../node-files.ts";

const COMMIT = /^[0-9a-f]{40}$/;
/** sha256 of a large file, or git's sha1 of a small one. */
const ETAG = /^(?:[0-9a-f]{64}|[0-9a-f]{40})$/;
const ID = /^(?=.{1,193}$)(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?\/[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;

/** Whether a text is of the form ORG/NAME that the hub gives its models. */
export function isHubId(text: string): boolean {
  return ID.test(text) && !text.endsWith(".git");
}

/** Whether a text is a full commit hash. */
export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

/** Whether an ETag (quotes and `W/` taken off) is a hash by which the bytes can be checked. */
export function isContentHash(etag: string): boolean {
  return ETAG.test(etag);
}

/** A path in a repository is safe below a folder of ours: relative, no "..", nothing that some system gives a meaning. */
export function isSafePath(path: string): boolean {
  return (
    path.length <= 1024 &&
    !/[\\:*?"<>|\p{C}\p{Zl}\p{Zp}]/u.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[. ]$/.test(part))
  );
}

/** One model's part of the cache. Paths are the operating system's. */
export class HubCache {
  readonly folder: string;
  private readonly locks: string;

  /** @param id ORG/NAME, checked by `isHubId`. */
  constructor(private readonly settings: HubSettings, id: string) {
    const name = `models--${id.replace("/", "--")}`;
    this.folder = join(settings.cache, name);
    this.locks = join(settings.cache, ".locks", name);
  }

  snapshot(commit: string): string {
    if (!isCommit(commit)) throw new HubError("network", `the hub names commit ${quote(commit)}, which is not a commit hash`);
    return join(this.folder, "snapshots", commit);
  }

  /** Where a file of the repository shows in a snapshot. @throws HubError if the name would lead out of it. */
  pointer(commit: string, file: string): string {
    if (!isSafePath(file)) throw new HubError("refused", `the repository names a file ${quote(file)}, which cannot be stored safely`);
    return join(this.snapshot(commit), ...file.split("/"));
  }

  blob(etag: string): string {
    if (!isContentHash(etag)) {
      throw new HubError(
        "network",
        `the hub gives ETag ${quote(etag)}, which is neither a sha256 nor a git hash: the file could not be checked`,
      );
    }
    return join(this.folder, "blobs", etag);
  }

  /** Ours, not the .lock beside it: that one is for flock, which Node does not have. */
  lock(etag: string): string {
    return join(this.locks, `${etag}.lethe.lock`);
  }

  /** The commit a branch or tag was at when it was last asked for; a commit is itself. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const text = await readFile(this.ref(revision), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : undefined;
  }

  /** Notes a branch's commit. A cache that cannot be written stays as it is: it is only a note. */
  async noteCommit(revision: string, commit: string): Promise<void> {
    if ((await this.commitOf(revision)) === commit) return;
    try {
      await writeFileAtomic(this.ref(revision), commit);
    } catch (error) {
      if (!/EACCES|EPERM|EROFS/.test(codeOf(error) || codeOf(error instanceof Error ? error.cause : undefined))) throw error;
    }
  }

  /** @param revision checked by `isSafePath` */
  private ref(revision: string): string {
    return join(this.folder, "refs", ...revision.split("/"));
  }

  /** Files that a snapshot shows, with their sizes; links whose blob is gone are left out. Empty if there is no such snapshot. */
  async files(commit: string): Promise<Map<string, number>> {
    const root = this.snapshot(commit);
    const sizes = new Map<string, number>();
    const names = await readdir(root, { recursive: true }).catch(() => []);
    for (const name of names.toSorted()) {
      const status = await stat(join(root, name)).catch(() => undefined);
      if (status?.isFile()) sizes.set(name.replaceAll("\\", "/"), status.size);
    }
    return sizes;
  }

  /** Whether the snapshot shows the file, with the size it should have if that is known. */
  async has(commit: string, file: string, size: number | undefined): Promise<boolean> {
    return isWhole(this.pointer(commit, file), size);
  }

  /**
   * Makes the snapshot show a complete blob under the file's name: by a relative link, else a hard link (Windows without developer mode),
   * else by moving the blob there if it has just been fetched, else by a copy.
   * @throws HubError if the cache cannot be written.
   */
  async show(commit: string, file: string, etag: string, fresh: boolean): Promise<void> {
    const pointer = this.pointer(commit, file);
    const blob = this.blob(etag);
    try {
      await mkdir(dirname(pointer), { recursive: true });
      if (this.settings.symlinks && (await tryLink(pointer, blob, () => symlink(relative(dirname(pointer), blob), pointer, "file")))) {
        return;
      }
      if (await tryLink(pointer, blob, () => link(blob, pointer))) return;
      await placeFile(blob, pointer, fresh);
    } catch (error) {
      throw diskError(pointer, error);
    }
  }
}

/** Whether there is a file of that size, or of any if none is given. Links are followed. */
export async function isWhole(path: string, size: number | undefined): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status?.isFile() === true && (size === undefined || status.size === size);
}

/** Makes a link, in place of whatever dead link or wrong file bears its name. False where links cannot be made. */
async function tryLink(path: string, blob: string, make: () => Promise<void>): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    try {
      await make();
      return true;
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || attempt > 3) {
        if (/ENOSPC|EDQUOT|EACCES|EROFS/.test(codeOf(error))) throw error;
        return false;
      }
      const [there, wanted] = await Promise.all([stat(path).catch(() => undefined), stat(blob)]);
      if (there?.ino === wanted.ino && there.dev === wanted.dev) return true; // another process was faster
      await rm(path, { force: true });
    }
  }
}

/** Puts a file where no link can be: moved if nothing else can be using it yet, else copied, whole or not at all. */
export async function placeFile(from: string, to: string, move: boolean): Promise<void> {
  if (move) return rename(from, to);
  const draft = `${to}.${process.pid}.lethe.incomplete`;
  try {
    await copyFile(from, draft, constants.COPYFILE_FICLONE);
    await rename(draft, to);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}
