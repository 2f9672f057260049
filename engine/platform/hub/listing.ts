import { isObject } from "../../formats/file-system.ts";
import { isCommit, isContentHash, isSafePath } from "./cache.ts";

/** A file of a repository. */
export interface Entry {
  readonly size: number | undefined;
  /** sha256 or git sha1 of the content, if the listing says. */
  readonly hash: string | undefined;
}

/** A repository's files at a commit. */
export interface Listing {
  readonly commit: string;
  readonly entries: ReadonlyMap<string, Entry>;
}

/** The hub's answer to /api/models/ID/revision/REVISION?blobs=true; undefined if it is none. Names that are no safe path are left out. */
export function parseListing(answer: unknown): Listing | undefined {
  if (!isObject(answer) || !Array.isArray(answer["siblings"])) return undefined;
  const { sha: commit } = answer;
  if (typeof commit !== "string" || !isCommit(commit)) return undefined;
  const entries = new Map<string, Entry>();
  for (const sibling of answer["siblings"] as unknown[]) {
    // such a name is never wanted
    if (!isObject(sibling) || typeof sibling["rfilename"] !== "string" || !isSafePath(sibling["rfilename"])) continue;
    const lfs = isObject(sibling["lfs"]) ? sibling["lfs"] : undefined;
    const size = lfs?.["size"] ?? sibling["size"];
    const hash = lfs ? lfs["sha256"] : sibling["blobId"];
    entries.set(sibling["rfilename"], {
      size: typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : undefined,
      hash: typeof hash === "string" && isContentHash(hash) ? hash : undefined,
    });
  }
  return { commit, entries };
}
