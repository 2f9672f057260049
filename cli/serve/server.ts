import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { isLocal } from "./listen.ts";
import { ApiError, type ImageRequest, parseImageRequest } from "./request.ts";

/** A picture that was drawn. */
export interface ServedPicture {
  readonly seed: number;
  /** PNG. */
  readonly png: Uint8Array;
}

/** What draws. Calls come one at a time. */
export interface Painter {
  /** What `GET /v1/models` calls it. */
  readonly model: string;
  /** "64x64". */
  readonly size: string;
  draw(request: ImageRequest, signal: AbortSignal): Promise<readonly ServedPicture[]>;
  /** Told of every error that is not the client's. */
  failed(error: unknown): void;
}

const MAX_BODY = 1 << 20;
/** Pictures kept for `response_format: "url"`. */
const KEPT = 64;

/**
 * An HTTP server with OpenAI's images endpoint. It is meant for the loopback address: it answers only requests that name it so, and none
 * of a web page from elsewhere, so that no site can make this machine draw.
 */
export function createImageServer(painter: Painter): Server {
  const pictures = new Map<string, Uint8Array>();
  let last: Promise<unknown> = Promise.resolve();
  let count = 0;

  /** Runs `work` after all that was asked for before. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work, work);
    last = turn.catch(() => undefined);
    return turn;
  };

  const keep = (png: Uint8Array): string => {
    const name = `${++count}.png`;
    pictures.set(name, png);
    for (const old of pictures.keys()) {
      if (pictures.size <= KEPT) break;
      pictures.delete(old);
    }
    return name;
  };

  const draw = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!/^application\/json\b/i.test(request.headers["content-type"] ?? "")) {
      throw new ApiError(415, "The content type must be application/json.");
    }
    const wanted = parseImageRequest(await bodyOf(request));
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const drawn = await inTurn(async () => (gone.signal.aborted ? [] : painter.draw(wanted, gone.signal)));
    if (gone.signal.aborted) return;
    const data = drawn.map(({ seed, png }) => ({
      seed,
      ...(wanted.format === "url"
        ? { url: `http://${request.headers.host}/pictures/${keep(png)}` }
        : { b64_json: Buffer.from(png).toString("base64") }),
    }));
    send(response, 200, { created: Math.floor(Date.now() / 1000), output_format: "png", size: painter.size, data });
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = "GET", headers } = request;
    requireLocal(headers);
    const path = (request.url ?? "/").replace(/[?#].*$/s, "");
    if (path === "/v1/images/generations") {
      if (method !== "POST") throw new ApiError(405, `${path} takes POST.`);
      return draw(request, response);
    }
    if (method !== "GET") throw new ApiError(404, `There is nothing at ${method} ${path}.`);
    if (path === "/v1/models") return send(response, 200, { object: "list", data: [modelEntry(painter.model)] });
    const png = pictures.get(path.replace(/^\/pictures\//, ""));
    if (!png) throw new ApiError(404, `There is nothing at ${path}; POST /v1/images/generations draws.`);
    response.writeHead(200, { "content-type": "image/png", "content-length": png.length, "cache-control": "no-store" }).end(png);
  };

  return createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!(error instanceof ApiError)) painter.failed(error);
      const told = error instanceof ApiError ? error : new ApiError(500, error instanceof Error ? error.message : String(error));
      if (response.headersSent) response.destroy();
      else send(response, told.status, told.body);
    });
  });
}

function requireLocal({ host = "", origin }: IncomingMessage["headers"]): void {
  if (!isLocal(host)) throw new ApiError(403, "Only requests to localhost are answered.");
  if (origin !== undefined && !isLocal(origin.replace(/^https?:\/\//, ""))) {
    throw new ApiError(403, "Requests of web pages from elsewhere are not answered.");
  }
}

function modelEntry(id: string): object {
  return { id, object: "model", created: 0, owned_by: "lethe" };
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY) throw new ApiError(413, `The body is larger than ${MAX_BODY} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
