/**
 * One blob from the hub to the disk: continued where an earlier attempt or process stopped, checked against its hash, then renamed into
 * place.
 *
 * What has arrived is kept in `ETAG.lethe.incomplete`. It is not the `ETAG.incomplete` of older huggingface_hub releases, which they guard
 * with flock: Node has no flock, and two writers of one file spoil it (newer releases use a name per process for that reason). What they
 * left is taken over by copy.
 */
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, type FileHandle, mkdir, open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { quote } from "../../formats/errors.ts";
import { isContentHash, isWhole } from "./cache.ts";
import { type HubClient, type HubResponse, plainEtag } from "./client.ts";
import { diskError, HubError, RangeRefusedError, TransientHubError } from "./error.ts";
import { withLock } from "./lock.ts";

/** Left free on the disk beside the file. */
const SPARE_BYTES = 16 * 2 ** 20;
/** Hashing more than this takes long enough to be mentioned. */
const SLOW_HASH_BYTES = 512 * 2 ** 20;

export interface BlobRequest {
  readonly client: HubClient;
  /** The file's address at the endpoint, for a commit. */
  readonly address: string;
  /** As in messages: ORG/NAME/FILE. */
  readonly label: string;
  /** sha256 or git-sha1 in hexadecimal digits. */
  readonly etag: string;
  readonly size: number | undefined;
  /** Where the checked bytes go. */
  readonly blob: string;
  readonly lock: string;
  /** How much of the file there is now. It can go back when a download starts over. */
  readonly onBytes: (position: number) => void;
  /** What takes long without bytes arriving. */
  readonly onNote: (note: string) => void;
}

/**
 * Fetches a blob unless it is there. Returns how many bytes came over the network, or undefined if it was there already (or another process
 * fetched it meanwhile).
 * @throws HubError: `hash` if the bytes are wrong (they are removed), `changed` if the hub gives the address another content, `disk`,
 * `network`.
 */
export async function fetchBlob(request: BlobRequest): Promise<number | undefined> {
  const { blob, size, lock, client, label } = request;
  if (await isWhole(blob, size)) return undefined;
  return withLock(lock, client.options.signal, () => request.onNote(`${label}: another process is downloading it; waiting`), async () => {
    if (await isWhole(blob, size)) return undefined;
    try {
      await mkdir(dirname(blob), { recursive: true });
      return await download(request);
    } catch (error) {
      throw diskError(blob, error);
    }
  });
}

async function download(request: BlobRequest): Promise<number> {
  const draft = `${request.blob}.lethe.incomplete`;
  const kept = await keptBytes(request, draft);
  await requireSpace(request, kept);
  let fetched = await fill(request, draft, kept);
  let actual = await draftHash(request, draft);
  if (actual !== request.etag && kept > 0) {
    request.onNote(`${request.label}: what an earlier download left is damaged; starting over`);
    await rm(draft, { force: true });
    fetched += await fill(request, draft, 0);
    actual = await draftHash(request, draft);
  }
  if (actual !== request.etag) {
    const bytes = await sizeOf(draft);
    await rm(draft, { force: true });
    const kind = request.etag.length === 64 ? "sha256" : "git sha1";
    const { endpoint } = request.client.settings;
    throw new HubError(
      "hash",
      `${request.label}: the ${bytes} bytes received have ${kind} ${actual}, the hub announced ${request.etag}; they were removed. ` +
        `Something between here and ${endpoint} alters files`,
    );
  }
  await rename(draft, request.blob);
  return fetched;
}

/** How much of the file an earlier process left, ours or an older huggingface_hub. */
async function keptBytes({ blob, size }: BlobRequest, draft: string): Promise<number> {
  const theirs = await sizeOf(`${blob}.incomplete`);
  if (theirs > (await sizeOf(draft)) && theirs <= (size ?? 0)) await copyFile(`${blob}.incomplete`, draft, constants.COPYFILE_FICLONE);
  const kept = await sizeOf(draft);
  if (kept > (size ?? Infinity)) {
    await rm(draft, { force: true });
    return 0;
  }
  return kept;
}

/** Fills the draft from `start` to the end, over any number of connections. Returns the bytes received. */
async function fill(request: BlobRequest, draft: string, start: number): Promise<number> {
  const writer = await DraftWriter.open(draft, start);
  const tags = new Map<string, string>();
  let fetched = 0;
  try {
    request.onBytes(start);
    for (let failures = 0, last = start, complete = start === request.size; !complete; ) {
      try {
        complete = await connect(request, writer, tags, (bytes) => (fetched += bytes));
      } catch (error) {
        failures = writer.position > last ? 1 : failures + 1;
        last = writer.position;
        if (error instanceof RangeRefusedError && writer.position > 0) await writer.startOver();
        await request.client.pause(error, failures);
      }
    }
    await writer.sync();
    return fetched;
  } finally {
    await writer.close();
  }
}

/** One connection's worth of the file. True if that completes it. @param tags ETags of other hosts, by origin */
async function connect(
  request: BlobRequest,
  writer: DraftWriter,
  tags: Map<string, string>,
  count: (bytes: number) => void,
): Promise<boolean> {
  const { client, size, label, etag } = request;
  const response = await client.open(request.address, {
    headers: (url, own) => rangeHeaders(writer.position, own ? `"${etag}"` : tags.get(url.origin)),
  });
  await prepare(request, response, writer, tags);
  await client.read(response, async (piece) => {
    if (writer.position + piece.length > (size ?? Infinity)) {
      throw new HubError("changed", `${label}: more than the ${size} bytes announced arrive`);
    }
    await writer.write(piece);
    count(piece.length);
    request.onBytes(writer.position);
  });
  if (size !== undefined && writer.position < size) {
    throw new TransientHubError(`${label}: ${writer.position} of ${size} bytes arrived, then the server ended`);
  }
  return true;
}

/** If-Range: what the server has now must be what the first bytes were of, or all is sent anew. */
function rangeHeaders(position: number, tag: string | undefined): Record<string, string> {
  if (position === 0) return {};
  return { range: `bytes=${position}-`, ...(tag !== undefined && { "if-range": tag }) };
}

/** Checks what an answer is about to deliver, and starts the draft over if that is the whole file. */
async function prepare(request: BlobRequest, response: HubResponse, writer: DraftWriter, tags: Map<string, string>): Promise<void> {
  const { etag, size, label } = request;
  const { status, headers, linked, url, body } = response;
  try {
    if (linked.etag !== undefined && isContentHash(linked.etag) && linked.etag !== etag) {
      throw new HubError("changed", `${label}: the hub now has ${quote(linked.etag)} instead of ${quote(etag)}`);
    }
    const tag = headers.etag;
    if (tag !== undefined && !tag.startsWith("W/") && plainEtag(tag) !== etag) tags.set(url.origin, tag);
    if (status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(String(headers["content-range"] ?? ""));
      const total = range?.[2] === "*" ? size : Number(range?.[2]);
      if (Number(range?.[1]) !== writer.position || (size !== undefined && total !== size)) {
        throw new RangeRefusedError(
          `${label}: asked for bytes ${writer.position} to the end of ${size ?? "the file"}, the server sends ` +
            `${quote(String(headers["content-range"]))}`,
        );
      }
    } else if (status === 200) {
      const length = headers["content-length"];
      if (length !== undefined && size !== undefined && Number(length) !== size) {
        throw new HubError("changed", `${label}: should have ${size} bytes, the server sends ${quote(length)}`);
      }
      if (writer.position > 0) await writer.startOver();
    } else throw new HubError("network", `${label}: ${url.host} answers ${status}`);
  } catch (error) {
    body.destroy();
    throw error;
  }
}

/** The draft's hash, by its bytes as they are on the disk. */
function draftHash(request: BlobRequest, draft: string): Promise<string> {
  if (request.size !== undefined && request.size > SLOW_HASH_BYTES) request.onNote(`${request.label}: checking the hash`);
  return contentHash(draft, request.etag, request.client.options.signal);
}

/** sha256 of a file, or for an ETag of 40 digits the hash git gives it: sha1 over `blob SIZE\0` and the bytes. */
export async function contentHash(path: string, etag: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash(etag.length === 64 ? "sha256" : "sha1");
  if (etag.length !== 64) hash.update(`blob ${await sizeOf(path)}\0`);
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20, ...(signal && { signal }) })) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}

async function requireSpace({ blob, size, label }: BlobRequest, kept: number): Promise<void> {
  if (size === undefined) return;
  const disk = await statfs(dirname(blob)).catch(() => undefined);
  if (!disk || disk.blocks === 0) return; // some network disks do not say
  const free = disk.bavail * disk.bsize;
  if (free < size - kept + SPARE_BYTES) {
    throw new HubError(
      "disk",
      `${label}: ${mib(size - kept)} are to come, but the disk of ${quote(dirname(blob))} has only ${mib(free)} free; make room, or set ` +
        "HF_HOME to a folder with more of it",
    );
  }
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/**
 * Writes at explicit positions and starts over in a new file, so that a second writer (should a lock fail) can only write the same bytes.
 */
class DraftWriter {
  private constructor(private readonly path: string, private handle: FileHandle, private at: number) {}

  static async open(path: string, position: number): Promise<DraftWriter> {
    return new DraftWriter(path, await open(path, position > 0 ? "r+" : "w"), position);
  }

  get position(): number {
    return this.at;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, this.at);
      done += bytesWritten;
      this.at += bytesWritten;
    }
  }

  async startOver(): Promise<void> {
    await this.handle.close();
    await rm(this.path, { force: true });
    this.handle = await open(this.path, "wx");
    this.at = 0;
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
