import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { extname, join, sep } from "node:path";
import { isLocal } from "../../serve/listen.ts";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".txt": "text/plain; charset=utf-8",
  ".csv": "text/csv; charset=utf-8",
  ".md": "text/markdown; charset=utf-8",
};

/** Isolated from other origins, which gives the page finer timers, and never taken for another type than it is. */
const HEADERS = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
  "accept-ranges": "bytes",
};

/** Folders by the first part of the address; "" is the page itself. */
export type Roots = Readonly<Record<string, string>>;

/**
 * Serves files below the given folders, GET and HEAD, with byte ranges. It is meant for the loopback address, and answers only requests
 * that name it so (another host's name that is made to point here gets nothing).
 */
export function createPageServer(roots: Roots): Server {
  return createServer((request, response) => {
    answer(roots, request, response).catch(() => {
      if (!response.headersSent) refuse(response, 500);
      else response.destroy();
    });
  });
}

async function answer(roots: Roots, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!isLocal(request.headers.host ?? "")) return refuse(response, 403);
  if (request.method !== "GET" && request.method !== "HEAD") return refuse(response, 405, { allow: "GET, HEAD" });
  const file = await fileOf(roots, request.url ?? "/");
  if (file === undefined) return refuse(response, 404);
  const { size, mtimeMs } = await stat(file);
  const etag = `"${size.toString(36)}-${Math.trunc(mtimeMs).toString(36)}"`;
  const headers = { ...HEADERS, "content-type": TYPES[extname(file).toLowerCase()] ?? "application/octet-stream", etag };
  if (request.headers["if-none-match"] === etag) return void response.writeHead(304, headers).end();
  const condition = request.headers["if-range"];
  const range = condition === undefined || condition === etag ? rangeOf(request.headers.range, size) : undefined;
  if (range === "bad") return refuse(response, 416, { "content-range": `bytes */${size}` });
  const [start, end] = range ?? [0, size - 1];
  response.writeHead(range ? 206 : 200, {
    ...headers,
    "content-length": end - start + 1,
    ...(range && { "content-range": `bytes ${start}-${end}/${size}` }),
  });
  if (request.method === "HEAD" || size === 0) return void response.end();
  createReadStream(file, { start, end }).on("error", () => response.destroy()).pipe(response);
}

/** The file at an address; undefined unless it is a file that lies below its folder, links followed. */
async function fileOf(roots: Roots, url: string): Promise<string | undefined> {
  let path: string;
  try {
    path = decodeURIComponent(url.replace(/[?#].*$/s, ""));
  } catch {
    return undefined; // not an address at all
  }
  if (!path.startsWith("/") || path.includes("\0") || path.includes("\\")) return undefined;
  const parts = path.slice(1).split("/");
  if (parts.some((part) => part === ".." || part === ".")) return undefined;
  const own = Object.hasOwn(roots, parts[0]!) && parts.length > 1;
  const root = await realpath(roots[own ? parts[0]! : ""]!);
  const wanted = join(root, ...(own ? parts.slice(1) : parts), path.endsWith("/") ? "index.html" : "");
  try {
    const real = await realpath(wanted);
    return real.startsWith(root + sep) && (await stat(real)).isFile() ? real : undefined;
  } catch {
    return undefined; // there is no such file
  }
}

/** First and last byte of a range header with one range; undefined without, "bad" if the file has no such bytes. */
function rangeOf(header: string | undefined, size: number): readonly [number, number] | "bad" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [from, to] = [match[1]!, match[2]!];
  const start = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === "" || to === "" ? size - 1 : Math.min(size - 1, Number(to));
  return start <= end && start < size ? [start, end] : "bad";
}

function refuse(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { ...HEADERS, ...headers, "content-type": "text/plain; charset=utf-8" }).end(`${status}\n`);
}
