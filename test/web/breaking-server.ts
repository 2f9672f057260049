/** A web server for files that break off, change, and know byte ranges or not; other origins may read it. */
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface ServedFile {
  content: Uint8Array;
  /** Absent: the server tells no version. */
  etag?: string;
  modified?: string;
  /** The connection is cut after this many bytes of an answer, this many times. */
  breakAfter?: number;
  breaks?: number;
  /** Whether byte ranges are answered. Default true. */
  ranges?: boolean;
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly condition: string | undefined;
}

export class BreakingServer {
  readonly files = new Map<string, ServedFile>();
  readonly asked: Asked[] = [];
  private constructor(private readonly server: Server, readonly origin: string) {}

  static async start(): Promise<BreakingServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const made = new BreakingServer(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on("request", (request, response) => {
      const path = request.url ?? "/";
      const { range, "if-range": condition } = request.headers as Record<string, string | undefined>;
      made.asked.push({ method: request.method!, path, range, condition });
      const file = made.files.get(path);
      const common = { "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" };
      if (!file) return void response.writeHead(404, common).end();
      const { content, etag, modified, ranges = true } = file;
      const start =
        ranges && (condition === undefined || condition === etag || condition === modified)
          ? Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? NaN)
          : NaN;
      const part = Number.isInteger(start);
      if (part && start >= content.length) {
        return void response.writeHead(416, { ...common, "content-range": `bytes */${content.length}` }).end();
      }
      const body = content.subarray(part ? start : 0);
      response.writeHead(part ? 206 : 200, {
        ...common,
        ...(etag && { etag }),
        ...(modified && { "last-modified": modified }),
        ...(part && { "content-range": `bytes ${start}-${content.length - 1}/${content.length}` }),
        "content-type": "application/octet-stream",
        "content-length": body.length,
      });
      if (request.method === "HEAD") return void response.end();
      if (file.breakAfter === undefined || file.breakAfter >= body.length || (file.breaks ?? Infinity) <= 0) return void response.end(body);
      if (file.breaks !== undefined) file.breaks--;
      response.write(body.subarray(0, file.breakAfter), () => setTimeout(() => response.destroy(), 20));
    });
    return made;
  }

  /** Ranges asked for since the last call, of the requests for content. */
  ranges(): (string | undefined)[] {
    return this.asked.splice(0).filter((a) => a.method === "GET").map((a) => a.range);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
