import { FormatError, reason } from "../../engine/formats/errors.ts";
import { Sha256 } from "./sha256.ts";
import type { Store } from "./store.ts";

export interface Expected {
  readonly bytes?: number | undefined;
  readonly sha256?: string | undefined;
}

export interface Received {
  readonly bytes: number;
  readonly sha256: string;
}

export interface ReceiveOptions {
  readonly expected?: Expected;
  /** Told how many bytes have come; `total` is 0 where the server does not say. */
  readonly onBytes?: (done: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fetches a file into a store, hashing it on the way; nothing is kept of one that is not what was expected.
 * @throws FormatError naming the URL and what came instead; AbortError; what the store throws when it is full
 */
export async function download(url: string, store: Store, name: string, options: ReceiveOptions = {}): Promise<Received> {
  let response: Response;
  try {
    response = await fetch(url, { signal: options.signal ?? null, credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new FormatError(url, `cannot be fetched: ${reason(error)}; is the server there, and does it allow pages of other origins to read it (CORS)?`, { cause: error });
  }
  if (!response.ok || !response.body) throw new FormatError(url, response.status === 404 ? "no such file on the server" : `the server answers ${response.status} ${response.statusText}`);
  if (/text\/html/.test(response.headers.get("content-type") ?? "") && !/\.html?$/.test(url)) throw new FormatError(url, "the server answers with an HTML page, not with a file: is it a page about the file, or a log-in?");
  const total = response.headers.get("content-encoding") ? 0 : Number(response.headers.get("content-length") ?? 0);
  return receive(url, response.body, store, name, { ...options, onBytes: (done) => options.onBytes?.(done, options.expected?.bytes ?? total) });
}

/** Writes a stream into a store, hashing it on the way. @throws as `download` */
export async function receive(from: string, stream: ReadableStream<Uint8Array<ArrayBuffer>>, store: Store, name: string, { expected = {}, onBytes, signal }: ReceiveOptions): Promise<Received> {
  const writer = await store.writer(name);
  const hash = new Sha256();
  let bytes = 0;
  try {
    const reader = stream.getReader();
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = await reader.read();
      if (done) break;
      hash.update(value);
      bytes += value.length;
      await writer.write(value);
      onBytes?.(bytes, expected.bytes ?? 0);
    }
    const sha256 = hash.digest();
    if (expected.bytes !== undefined && bytes !== expected.bytes) throw new FormatError(from, `${bytes} bytes came instead of ${expected.bytes}: the connection broke or the file is another one; try again`);
    if (expected.sha256 && sha256 !== expected.sha256.toLowerCase()) throw new FormatError(from, `has SHA-256 ${sha256}, expected ${expected.sha256}: the file is damaged or another one, and was not kept`);
    await writer.close();
    return { bytes, sha256 };
  } catch (error) {
    await writer.abort();
    await store.remove(name);
    throw error;
  }
}
