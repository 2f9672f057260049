/** What can go wrong with the model hub, told apart so that callers can fall back to the cache, try again or give up. */
import { quote } from "../../formats/errors.ts";
import { LetheError } from "../../runtime/errors.ts";
import { codeOf } from "../node-files.ts";

/**
 * - `not-found`: no such repository, revision or file, or a private one; `gated`: its owner must grant access; `refused`: any other 4xx;
 * - `offline`: not allowed to ask, and not in the cache; `network`: unreachable, 5xx, or an answer that makes no sense;
 * - `hash`: the bytes are not those the hub announced; `changed`: the file became another one meanwhile; `disk`: the cache folder cannot be
 * used.
 */
export type HubErrorKind = "not-found" | "gated" | "refused" | "offline" | "network" | "hash" | "changed" | "disk";

const USERS_TO_FIX: readonly HubErrorKind[] = ["not-found", "gated", "refused", "offline"];

export class HubError extends LetheError {
  override readonly name = "HubError";
  override readonly exitCode: number;

  constructor(readonly kind: HubErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = USERS_TO_FIX.includes(kind) ? 2 : 1;
  }
}

/** A failure worth another attempt. `retryAfter`: seconds the server asked to wait. */
export class TransientHubError extends HubError {
  constructor(message: string, readonly retryAfter?: number, options?: ErrorOptions) {
    super("network", message, options);
  }
}

/** The server will not continue from where we are: the file has to be fetched from its start. */
export class RangeRefusedError extends TransientHubError {}

const DISK_REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EROFS: "the disk is read-only",
  ENOTDIR: "a part of the path is not a folder",
  EISDIR: "it is a folder",
  ENAMETOOLONG: "the path is too long",
  EFBIG: "this file system allows no file so large",
  EIO: "the disk reports an error",
};

/** A failure of the disk as a HubError with what to do about it; errors that are none of the disk's pass unchanged. */
export function diskError(path: string, error: unknown): unknown {
  const reason = DISK_REASONS[codeOf(error)];
  if (reason === undefined) return error;
  const remedy = /ENOSPC|EDQUOT|EFBIG/.test(codeOf(error))
    ? "make room, or set HF_HOME to a folder with more of it; what has arrived is kept and will be continued"
    : "set HF_HOME (or HF_HUB_CACHE) to a folder that can be written to";
  return new HubError("disk", `${quote(path)} cannot be written: ${reason}; ${remedy}`, { cause: error });
}
