/** Model folders on a web server, read with fetch: by ranges where a file is large, whole where it is small. */
import { blobSource, checkRange, type ByteSource } from "./byte-source.ts";
import { FormatError, reason } from "./errors.ts";
import type { FileSystem } from "./file-system.ts";

/** Up to here a file is fetched at once: one request instead of one for each tensor. */
const WHOLE_BYTES = 64 * 2 ** 20;

/**
 * What is looked for in a folder, since a web server lists none: the file names of diffusers and transformers,
 * and the folders that a model_index.json may name.
 */
const WEIGHTS = [
  "diffusion_pytorch_model.safetensors",
  "model.safetensors",
  "diffusion_pytorch_model.fp16.safetensors",
  "model.fp16.safetensors",
  "diffusion_pytorch_model.bin",
  "pytorch_model.bin",
];
const KNOWN_NAMES = [...WEIGHTS, ...WEIGHTS.map((name) => `${name}.index.json`)];

export interface HttpFilesOptions {
  /** Paths of all files there are; without them the server is asked for each. */
  readonly paths?: readonly string[];
  /** Default: the global fetch. */
  readonly fetch?: typeof fetch;
}

/**
 * A folder on a web server.
 * @param base its URL, relative to the page or absolute; the server must allow the page to read it (CORS) if it is another origin's
 */
export function httpFiles(base: string, options: HttpFilesOptions = {}): FileSystem {
  const ask = options.fetch ?? ((...args: Parameters<typeof fetch>) => fetch(...args));
  const root = base === "" || base.endsWith("/") ? base : `${base}/`;
  const url = (path: string): string =>
    root +
    path
      .split("/")
      .filter((part) => part !== "" && part !== ".")
      .map(encodeURIComponent)
      .join("/");
  const known = options.paths && new Set(options.paths);
  const seen = new Map<string, Promise<boolean>>();
  const exists = (path: string): Promise<boolean> => {
    if (known) return Promise.resolve(known.has(path));
    let answer = seen.get(path);
    if (!answer) {
      answer = request(ask, url(path), { method: "HEAD" }).then((response) => response.ok);
      seen.set(path, answer);
      answer.catch(() => seen.delete(path));
    }
    return answer;
  };
  return {
    async kind(path) {
      if (known) {
        return known.has(path) ? "file" : [...known].some((name) => path === "" || name.startsWith(`${path}/`)) ? "folder" : undefined;
      }
      // A folder cannot be asked for; a name without an extension is taken for one.
      if (!/\.\w+$/.test(path)) return "folder";
      return (await exists(path)) ? "file" : undefined;
    },
    async list(path) {
      const prefix = path === "" ? "" : `${path}/`;
      if (known) {
        return [
          ...new Set([...known].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length).replace(/\/.*$/s, "/"))),
        ].toSorted();
      }
      const found: string[] = [];
      for (const name of KNOWN_NAMES) {
        if (await exists(prefix + name)) return [...found, name];
      }
      return found;
    },
    open: (path) => openUrl(ask, url(path)),
  };
}

/** @throws FormatError where the server cannot be reached, saying what a page may read */
async function request(ask: typeof fetch, url: string, init: RequestInit): Promise<Response> {
  try {
    return await ask(url, init);
  } catch (error) {
    throw new FormatError(
      url,
      `cannot be fetched: ${reason(error)}; is the server there, and does it allow pages of other origins to read it (CORS)?`,
      { cause: error },
    );
  }
}

/** A file at a URL. @throws FormatError with the server's answer if it is not there */
async function openUrl(ask: typeof fetch, url: string): Promise<ByteSource> {
  const head = await request(ask, url, { method: "HEAD" });
  if (!head.ok) throw new FormatError(url, head.status === 404 ? "no such file" : `the server answers ${head.status} ${head.statusText}`);
  const size = Number(head.headers.get("content-length") ?? NaN);
  const encoded = head.headers.get("content-encoding") !== null; // then the length is that of the packed bytes
  if (encoded || !(size > WHOLE_BYTES) || head.headers.get("accept-ranges") !== "bytes") return wholeUrl(ask, url);
  const source: ByteSource = {
    name: url,
    size,
    async read(offset, length) {
      checkRange(source, offset, length);
      if (length === 0) return new Uint8Array(0);
      const response = await request(ask, url, { headers: { range: `bytes=${offset}-${offset + length - 1}` } });
      if (response.status !== 206) throw new FormatError(url, `the server answers ${response.status} to a request for part of the file`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length !== length) {
        throw new FormatError(
          url,
          `${bytes.length} bytes came at offset ${offset} instead of ${length}: the file changed or the connection broke; try again`,
        );
      }
      return bytes;
    },
    close: () => Promise.resolve(),
  };
  return source;
}

async function wholeUrl(ask: typeof fetch, url: string): Promise<ByteSource> {
  const response = await request(ask, url, {});
  if (!response.ok) throw new FormatError(url, `the server answers ${response.status} ${response.statusText}`);
  return blobSource(url, await response.blob());
}
