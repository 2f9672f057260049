import { FormatError, reason } from "../../../engine/formats/errors.ts";
import { Sha256, hashBlob } from "./sha256.ts";
import type { Appender, Store } from "./store.ts";

/** What tells one version of a file on a server from another (RFC 9110, sections 8.8 and 13.1.5). */
export interface Version {
  readonly bytes?: number | undefined;
  /** A strong entity tag. */
  readonly etag?: string | undefined;
  readonly modified?: string | undefined;
}

export interface Received {
  readonly bytes: number;
  readonly sha256: string;
}

export interface DownloadOptions {
  readonly expected?: { readonly bytes?: number | undefined; readonly sha256?: string | undefined };
  /** Of what the store has already; without it, and without an expected hash, that is not gone on with. */
  readonly version?: Version | undefined;
  /** Told the version that is about to arrive, so that a later call can go on with it. */
  readonly onVersion?: (version: Version) => Promise<void>;
  /** Told how many bytes there are; `total` is 0 where the server does not say. It goes back when a download starts anew. */
  readonly onBytes?: (done: number, total: number) => void;
  readonly onNote?: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Wait before the first new attempt after a broken connection; each further one is twice as long. Default 500. */
  readonly pauseMilliseconds?: number;
}

/** New attempts in a row that bring nothing. */
const ATTEMPTS = 4;

/** The connection broke: worth another attempt. */
class Broken extends Error {}

/** The version that a response tells of. */
export function versionOf({ headers, status }: Response): Version {
  const packed = headers.get("content-encoding") !== null; // then the length is that of the packed bytes
  const etag = headers.get("etag") ?? "";
  const range = /^bytes \d+-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1];
  const length = Number((status === 206 ? range : headers.get("content-length")) ?? NaN);
  return {
    ...(!packed && Number.isSafeInteger(length) && { bytes: length }),
    ...(etag.startsWith('"') && { etag }),
    ...(headers.has("last-modified") && { modified: headers.get("last-modified")! }),
  };
}

/** Whether two versions are surely the same: something that both tell is equal, and nothing differs. A length alone proves nothing. */
export function sameVersion(a: Version, b: Version): boolean {
  const differ = (key: keyof Version): boolean => a[key] !== undefined && b[key] !== undefined && a[key] !== b[key];
  const agree = (key: keyof Version): boolean => a[key] !== undefined && a[key] === b[key];
  return !differ("bytes") && !differ("etag") && (agree("etag") || (!differ("modified") && agree("modified")));
}

/**
 * Fetches a file into a store, hashing it. It goes on with what is there already and after broken connections, by byte ranges, as long as
 * the server still has the same file; a changed one starts anew. What has come stays when the call fails or is cancelled, but for a file
 * that is complete and not what was expected.
 * @throws FormatError naming the URL and what came instead; AbortError; QuotaExceededError of a full store
 */
export async function download(url: string, store: Store, name: string, options: DownloadOptions = {}): Promise<Received> {
  const draft = await Draft.open(url, store, name, options);
  try {
    await draft.fill();
    return await draft.finish();
  } finally {
    draft.close();
  }
}

/** Copies a stream into a store, hashing it; nothing is kept of one that fails. @throws AbortError; QuotaExceededError */
export async function copyInto(
  store: Store,
  name: string,
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  { onBytes, signal }: Pick<DownloadOptions, "onBytes" | "signal">,
): Promise<Received> {
  const file = await store.append(name);
  const hash = new Sha256();
  try {
    file.restart();
    for (const reader = stream.getReader(); ; ) {
      signal?.throwIfAborted();
      const { done, value } = await reader.read();
      if (done) return { bytes: file.size, sha256: hash.digest() };
      hash.update(value);
      await file.write(value);
      onBytes?.(file.size, 0);
    }
  } catch (error) {
    file.restart();
    throw error;
  } finally {
    file.close();
  }
}

/** A file on its way into a store. */
class Draft {
  private version: Version | undefined;
  /** Whether its beginning came over another connection than its end. */
  private pieced: boolean;
  private answered = false;
  private again = false;

  private constructor(
    private readonly url: string,
    private readonly file: Appender,
    private hash: Sha256,
    private readonly options: DownloadOptions,
  ) {
    this.version = options.version;
    this.pieced = file.size > 0;
  }

  /** Takes over what the store has, where that can be gone on with. */
  static async open(url: string, store: Store, name: string, options: DownloadOptions): Promise<Draft> {
    const hash = new Sha256();
    const kept = options.version || options.expected?.sha256 ? await store.read(name) : undefined;
    const tooLong = kept && kept.size > (options.expected?.bytes ?? options.version?.bytes ?? Infinity);
    if (kept && !tooLong) {
      await hashBlob(
        hash,
        kept,
        (done) => options.onNote?.(`reading what has come before: ${Math.round((100 * done) / kept.size)} %`),
        options.signal,
      );
    }
    const file = await store.append(name);
    if (!kept || tooLong) file.restart();
    return new Draft(url, file, hash, options);
  }

  private get total(): number | undefined {
    return this.options.expected?.bytes ?? this.version?.bytes;
  }

  close(): void {
    this.file.close();
  }

  private restart(): void {
    this.file.restart();
    this.hash = new Sha256();
    this.version = undefined;
    this.pieced = false;
  }

  /** Fills the file to its end, over any number of connections. */
  async fill(): Promise<void> {
    const { file, options: { signal, pauseMilliseconds = 500 } } = this;
    for (let failures = 0, last = file.size; this.total === undefined || file.size < this.total || this.total === 0; ) {
      try {
        return await this.connect();
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof Broken)) throw error;
        failures = file.size > last ? 1 : failures + 1;
        last = file.size;
        if (failures > ATTEMPTS) {
          throw new FormatError(this.url, `${error.message}; ${file.size} bytes are kept: fetch it again to go on from there`, {
            cause: error,
          });
        }
        this.options.onNote?.(`the connection broke after ${file.size} bytes: trying again`);
        await pause(pauseMilliseconds * 2 ** (failures - 1), signal);
      }
    }
  }

  /** One connection's worth of the file. @throws Broken if it ends too early */
  private async connect(): Promise<void> {
    const { file, url, options } = this;
    const from = file.size;
    const response = await this.request(from);
    this.answered = true;
    const body = await this.accept(response, from);
    if (!body) return this.connect();
    this.pieced ||= file.size > 0;
    const reader = body.getReader();
    for (;;) {
      options.signal?.throwIfAborted();
      let piece: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
      try {
        piece = await reader.read();
      } catch (error) {
        throw new Broken(`the connection broke: ${reason(error)}`, { cause: error });
      }
      if (piece.done) break;
      this.hash.update(piece.value);
      await file.write(piece.value);
      if (file.size > (this.total ?? Infinity)) {
        throw new FormatError(
          url,
          `more than the ${this.total} bytes announced arrive: the file is another one; delete what is kept of it and fetch it again`,
        );
      }
      options.onBytes?.(file.size, this.total ?? 0);
    }
    if (file.size < (this.total ?? 0)) throw new Broken(`${file.size} of ${this.total} bytes came, then the server ended`);
  }

  private async request(from: number): Promise<Response> {
    const { url, version, options } = this;
    // If-Range would make a browser ask other origins for leave first, which few give: there the answer's own version is compared.
    const own = new URL(url, location.href).origin === location.origin;
    const condition = version?.etag ?? version?.modified;
    const headers = {
      ...(from > 0 && { range: `bytes=${from}-` }),
      ...(from > 0 && own && condition !== undefined && { "if-range": condition }),
    };
    try {
      return await fetch(url, {
        signal: options.signal ?? null,
        credentials: "omit",
        referrerPolicy: "no-referrer",
        cache: "no-store",
        headers,
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (this.answered) throw new Broken(`cannot be reached any more: ${reason(error)}`, { cause: error });
      throw new FormatError(
        url,
        `cannot be fetched: ${reason(error)}; is the server there, and does it allow pages of other origins to read it (CORS)?`,
        { cause: error },
      );
    }
  }

  /** Checks what an answer is about to deliver. @returns its body; undefined if the file has to be asked for from its start */
  private async accept(response: Response, from: number): Promise<ReadableStream<Uint8Array<ArrayBuffer>> | undefined> {
    const { url, options } = this;
    const { status, headers, body } = response;
    if (status === 429 || status >= 500) throw new Broken(`the server answers ${status} ${response.statusText}`);
    const now = versionOf(response);
    if (from > 0 && (status === 416 || (status === 206 && !this.continues(response, now, from)))) {
      await body?.cancel();
      this.startAnew();
      return undefined;
    }
    if (!response.ok || !body || (status === 206 && from === 0)) {
      throw new FormatError(url, status === 404 ? "no such file on the server" : `the server answers ${status} ${response.statusText}`);
    }
    if (/text\/html/.test(headers.get("content-type") ?? "") && !/\.html?$/.test(url)) {
      throw new FormatError(url, "the server answers with an HTML page, not with a file: is it a page about the file, or a log-in?");
    }
    if (status !== 206) {
      if (from > 0) this.startAnew();
      this.version = now;
      await options.onVersion?.(now);
    }
    return body;
  }

  private startAnew(): void {
    this.options.onNote?.("the file on the server has changed, or it sends no parts of it: starting anew");
    this.restart();
  }

  /** Whether a partial answer is the rest of what is here. */
  private continues({ headers }: Response, now: Version, from: number): boolean {
    const start = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1];
    if (start !== undefined && Number(start) !== from) return false;
    // the hash will tell
    if (this.version === undefined || this.options.expected?.sha256) {
      return now.bytes === undefined || now.bytes === (this.total ?? now.bytes);
    }
    return sameVersion(this.version, now);
  }

  /** Compares the whole file with what was expected. @throws FormatError if it is another, after emptying it */
  async finish(): Promise<Received> {
    const { file, url, options: { expected = {} } } = this;
    const sha256 = this.hash.digest();
    const bytes = file.size;
    const wrong =
      expected.bytes !== undefined && bytes !== expected.bytes
        ? `${bytes} bytes came instead of ${expected.bytes}`
        : expected.sha256 && sha256 !== expected.sha256.toLowerCase()
          ? `has SHA-256 ${sha256}, expected ${expected.sha256}`
          : "";
    if (wrong === "") return { bytes, sha256 };
    const hopeless = !this.pieced || this.again;
    this.restart();
    if (hopeless) throw new FormatError(url, `${wrong}: the file is damaged or another one, and was not kept`);
    this.again = true;
    this.options.onNote?.("what was kept did not fit together: starting anew");
    await this.fill();
    return this.finish();
  }
}

/** @throws AbortError if it is cut short */
function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    }, { once: true });
  });
}
