/**
 * A model hub on 127.0.0.1 that speaks the public hub's protocol, with a second port in the role of the host that large files lie on, and
 * failures on demand. Small files are answered behind a relative redirect, large ones behind an absolute one whose headers describe the
 * file.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What to do to one answer. */
export interface Fault {
  /** An HTTP status instead of the answer, with headers. */
  status?: number;
  headers?: Record<string, string>;
  /** Close the connection after this many bytes of the body... */
  dropAfter?: number;
  /** ...or stop sending there and leave it open. */
  stallAfter?: number;
  /** Change one byte of what is sent. */
  corrupt?: boolean;
  /** Answer a range with the whole file. */
  ignoreRange?: boolean;
  /** Send these bytes instead of the file's. */
  replace?: Buffer;
}

export interface Request {
  host: "hub" | "cdn";
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
}

export interface Repository {
  commit: string;
  files: Map<string, Buffer>;
  /** Files of at least this many bytes are large. Default 2000. */
  largeFrom?: number;
  /** Required token; without it, files (not the listing) are refused as gated. */
  token?: string;
  gated?: boolean;
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function gitSha1(bytes: Buffer): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

export class HubServer {
  readonly requests: Request[] = [];
  readonly repositories = new Map<string, Repository>();
  /** Asked before each answer. */
  fault: (request: Request) => Fault | undefined = () => undefined;
  /** Pause between pieces of a large file, and their size: a slow line. */
  pace: { ms: number; bytes: number } | undefined;
  /** The ETag under which files are announced, in place of their hash. */
  announce: (path: string, etag: string) => string = (_, etag) => etag;
  /** Whether the listing carries sizes and hashes. */
  detailed = true;
  private hub!: Server;
  private cdn!: Server;

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    server.hub = await listen((request, response) => server.answer("hub", request, response));
    server.cdn = await listen((request, response) => server.answer("cdn", request, response));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.hub.address() as AddressInfo).port}`;
  }

  get cdnEndpoint(): string {
    return `http://127.0.0.1:${(this.cdn.address() as AddressInfo).port}`;
  }

  /** Bytes of file bodies asked for with GET, by requests. */
  gets(pattern: RegExp): Request[] {
    return this.requests.filter((r) => r.method === "GET" && pattern.test(r.path));
  }

  async stop(): Promise<void> {
    for (const server of [this.hub, this.cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  private answer(host: Request["host"], incoming: IncomingMessage, response: ServerResponse): void {
    const request: Request = {
      host,
      method: incoming.method ?? "",
      path: decodeURIComponent(incoming.url ?? ""),
      headers: incoming.headers,
    };
    this.requests.push(request);
    const fault = this.fault(request) ?? {};
    if (fault.status !== undefined) return refuse(response, fault.status, fault.headers);
    const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree)\/([^?]+))?/.exec(request.path);
    if (api) return this.describe(response, request, api[1]!, api[2], api[3] ?? "main");
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(request.path);
    if (resolve) return this.resolve(response, request, resolve[1]!, resolve[2]!, resolve[3]!);
    const file = /^\/(?:api\/resolve-cache|large)\/([^/]+\/[^/]+)\/(.+?)(?:\?.*)?$/.exec(request.path);
    const bytes = file && this.repositories.get(file[1]!)?.files.get(file[2]!);
    if (!bytes) return refuse(response, 404, { "x-error-code": "EntryNotFound" });
    void this.send(response, request, bytes, host, fault);
  }

  private describe(response: ServerResponse, request: Request, id: string, kind: string | undefined, revision: string): void {
    const repository = this.repositories.get(id);
    if (!repository) return refuse(response, 401, { "x-error-code": "RepoNotFound", "x-error-message": "Repository not found" });
    if (revision !== "main" && revision !== repository.commit) {
      return refuse(response, 404, { "x-error-code": "RevisionNotFound", "x-error-message": `Invalid rev id: ${revision}` });
    }
    const files = [...repository.files].map(([name, bytes]) => {
      const large = bytes.length >= (repository.largeFrom ?? 2000);
      return { name, size: bytes.length, id: gitSha1(bytes), ...(large && { sha256: sha256(bytes) }) };
    });
    const blobs = this.detailed && request.path.includes("blobs=true");
    const answer =
      kind === "tree"
        ? files.map((f) => ({
            type: "file",
            path: f.name,
            size: f.size,
            oid: f.id,
            ...(f.sha256 && { lfs: { oid: f.sha256, size: f.size, pointerSize: 130 } }),
          }))
        : {
            id,
            modelId: id,
            sha: repository.commit,
            private: false,
            tags: [],
            siblings: files.map((f) => ({
              rfilename: f.name,
              ...(blobs && { size: f.size, blobId: f.id, ...(f.sha256 && { lfs: { sha256: f.sha256, size: f.size, pointerSize: 130 } }) }),
            })),
          };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  private resolve(response: ServerResponse, request: Request, id: string, revision: string, name: string): void {
    const repository = this.repositories.get(id);
    if (!repository) return refuse(response, 401, { "x-error-code": "RepoNotFound" });
    if (revision !== "main" && revision !== repository.commit) return refuse(response, 404, { "x-error-code": "RevisionNotFound" });
    if (repository.gated && request.headers.authorization !== `Bearer ${repository.token}`) {
      return refuse(response, request.headers.authorization ? 403 : 401, {
        "x-error-code": "GatedRepo",
        "x-error-message": `Access to model ${id} is restricted.`,
      });
    }
    const bytes = repository.files.get(name);
    if (!bytes) return refuse(response, 404, { "x-error-code": "EntryNotFound", "x-repo-commit": repository.commit });
    const large = bytes.length >= (repository.largeFrom ?? 2000);
    const etag = this.announce(name, large ? sha256(bytes) : gitSha1(bytes));
    const described = { "x-repo-commit": repository.commit, "x-linked-size": String(bytes.length), "x-linked-etag": `"${etag}"` };
    if (large) {
      response.writeHead(302, { ...described, location: `${this.cdnEndpoint}/large/${id}/${encodeURI(name)}?signature=abc` }).end();
    } else response.writeHead(307, { ...described, location: `/api/resolve-cache/${id}/${encodeURI(name)}` }).end();
  }

  private async send(response: ServerResponse, request: Request, original: Buffer, host: Request["host"], fault: Fault): Promise<void> {
    const bytes = fault.replace ?? original;
    // The other host has hashes of its own, as object stores do.
    const etag = host === "hub" ? `"${gitSha1(bytes)}"` : `"${createHash("md5").update(bytes).digest("hex")}"`;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    const matches = request.headers["if-range"] === undefined || request.headers["if-range"] === etag;
    const start = range && matches && !fault.ignoreRange ? Number(range[1]) : 0;
    if (range && start >= bytes.length && start > 0) return refuse(response, 416, { "content-range": `bytes */${bytes.length}` });
    const body = Buffer.from(bytes.subarray(start));
    if (fault.corrupt && body.length > 0) body[body.length >> 1]! ^= 1;
    response.writeHead(start > 0 ? 206 : 200, {
      etag, "content-length": String(body.length), "accept-ranges": "bytes", "content-type": "application/octet-stream",
      ...(host === "hub" && { "x-repo-commit": [...this.repositories.values()][0]?.commit ?? "" }),
      ...(start > 0 && { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
    });
    if (request.method === "HEAD") return void response.end();
    const end = Math.min(body.length, fault.dropAfter ?? fault.stallAfter ?? body.length);
    const step = host === "cdn" ? (this.pace?.bytes ?? end) : end;
    for (let at = 0; at < end && !response.destroyed; at += step) {
      const piece = body.subarray(at, Math.min(end, at + step));
      await new Promise<void>((done) => response.write(piece, () => done()));
      if (this.pace && host === "cdn") await new Promise((done) => setTimeout(done, this.pace!.ms));
    }
    if (fault.dropAfter !== undefined) response.destroy();
    else if (fault.stallAfter === undefined) response.end();
  }
}

function refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, headers).end(status >= 400 ? JSON.stringify({ error: headers["x-error-message"] ?? "" }) : "");
}

async function listen(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(handler);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return server;
}
