/**
 * Requests to the hub. Redirects are followed by hand: metadata comes with the redirect itself, large files lie on other hosts, and the
 * token must not reach those. Nothing is ever asked of a host other than the endpoint and those it redirects to.
 * Source: the hub's API as used by huggingface_hub (file_download.py, utils/_http.py).
 */
import { type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { quote } from "../../formats/errors.ts";
import { errorMessage } from "../../runtime/errors.ts";
import { codeOf } from "../node-files.ts";
import { HubError, RangeRefusedError, TransientHubError } from "./error.ts";
import { type Proxy, proxyFor } from "./proxy.ts";
import type { HubSettings } from "./settings.ts";

const MAX_REDIRECTS = 10;
const MAX_JSON_BYTES = 64 * 2 ** 20;
const TRANSIENT_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_RETRY_AFTER_SECONDS = 60;
/** Failures that another attempt a second later will not cure. */
const LASTING_CODES = /ENOTFOUND|CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL|EPROTO|ERR_INVALID/;

export interface HubResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  readonly body: IncomingMessage;
  /** What the hub itself said of the file on the way. */
  readonly linked: FileMetadata;
}

/** What the hub says of a file in X-Linked-Etag or ETag, X-Linked-Size or Content-Length, and X-Repo-Commit. */
export interface FileMetadata {
  readonly etag?: string;
  readonly size?: number;
  readonly commit?: string;
}

export interface RequestOptions {
  readonly method?: "GET" | "HEAD";
  /** Further headers for one hop; `own`: whether it goes to the endpoint itself. */
  readonly headers?: (url: URL, own: boolean) => Readonly<Record<string, string>>;
  /** Stop at a redirect that leaves the endpoint: its headers are what is wanted. */
  readonly stayHome?: boolean;
}

export interface ClientOptions {
  readonly signal: AbortSignal;
  /** The first pause before another attempt; each further one is twice as long. */
  readonly backoffMs: number;
  readonly attempts: number;
  /** Called before each pause. */
  readonly onRetry: (reason: string, seconds: number) => void;
}

export class HubClient {
  private readonly origin: string;

  constructor(readonly settings: HubSettings, readonly options: ClientOptions) {
    this.origin = new URL(settings.endpoint).origin;
  }

  /**
   * One request with its redirects; the caller reads or destroys the body.
   * @throws TransientHubError for network failures and 5xx, HubError for other statuses of 400 and more, the signal's reason.
   */
  async open(address: string, options: RequestOptions = {}): Promise<HubResponse> {
    let url = new URL(address);
    let linked: FileMetadata = {};
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const own = url.origin === this.origin;
      const body = await this.send(url, options, own);
      const { statusCode: status = 0, headers } = body;
      if (own) linked = { ...linked, ...metadataOf(status, headers) };
      const target = status >= 300 && status < 400 && status !== 304 ? redirect(url, headers.location) : undefined;
      if (!target || (options.stayHome && target.origin !== this.origin)) {
        if (status >= 400 || status === 304) {
          body.destroy();
          throw this.failure(status, headers, url, own);
        }
        return { status, headers, url, body, linked };
      }
      body.destroy();
      url = target;
    }
    throw new HubError("network", `${this.settings.endpoint} redirects more than ${MAX_REDIRECTS} times`);
  }

  /** A JSON value. @throws as `open`, after further attempts; HubError if it is none. */
  async json(address: string): Promise<unknown> {
    return this.retrying(async () => {
      const response = await this.open(address);
      const pieces: Buffer[] = [];
      let size = 0;
      await this.read(response, async (piece) => {
        pieces.push(piece);
        if ((size += piece.length) > MAX_JSON_BYTES) {
          throw new HubError("network", `${response.url.host} answers with more than ${MAX_JSON_BYTES} bytes`);
        }
      });
      try {
        return JSON.parse(Buffer.concat(pieces).toString("utf8")) as unknown;
      } catch (cause) {
        throw new HubError("network", `${response.url.host} answers with something that is not JSON; is HF_ENDPOINT right?`, { cause });
      }
    });
  }

  /** What the hub says of a file, without its content. @throws as `json` */
  async metadata(address: string): Promise<FileMetadata> {
    return this.retrying(async () => {
      const { body, linked } = await this.open(address, { method: "HEAD", stayHome: true });
      body.destroy();
      return linked;
    });
  }

  /** Hands over a body piece by piece; a server silent for too long, or a connection cut short, is a TransientHubError. */
  async read(response: HubResponse, use: (piece: Buffer) => Promise<void>): Promise<void> {
    const { body } = response;
    const { timeoutMs } = this.settings;
    let waitingSince = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - waitingSince > timeoutMs) body.destroy(new Error(`nothing arrived for ${timeoutMs / 1000} s`));
    }, timeoutMs / 4);
    let failed: { readonly error: unknown } | undefined;
    try {
      for await (const piece of body) {
        waitingSince = Infinity; // a slow disk is not the server's fault
        await use(piece as Buffer).catch((error: unknown) => {
          failed = { error };
          throw error;
        });
        waitingSince = performance.now();
      }
    } catch (error) {
      this.options.signal.throwIfAborted();
      if (failed) throw failed.error;
      throw new TransientHubError(`the connection to ${response.url.host} broke: ${errorMessage(error)}`, undefined, { cause: error });
    } finally {
      clearInterval(watch);
      body.destroy();
    }
  }

  /** Repeats `work` after transient failures, with growing pauses. @throws the last failure */
  async retrying<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (error) {
        await this.pause(error, failures);
      }
    }
  }

  /** Waits before another attempt; rethrows an error that none will cure, or that has come too often. */
  async pause(error: unknown, failures: number): Promise<void> {
    this.options.signal.throwIfAborted();
    if (!(error instanceof TransientHubError) || failures >= this.options.attempts) throw error;
    const backoff = this.options.backoffMs * 2 ** (failures - 1) * (0.75 + 0.5 * Math.random());
    const ms = Math.max(backoff, 1000 * Math.min(MAX_RETRY_AFTER_SECONDS, error.retryAfter ?? 0));
    this.options.onRetry(error.message, ms / 1000);
    await sleep(ms, undefined, { signal: this.options.signal });
  }

  private send(url: URL, options: RequestOptions, own: boolean): Promise<IncomingMessage> {
    const { token, timeoutMs } = this.settings;
    const { signal } = this.options;
    signal.throwIfAborted();
    const proxy = proxyFor(url);
    const way = throughProxy(proxy);
    const headers = {
      "user-agent": `lethe; node/${process.versions.node}`,
      "accept-encoding": "identity", // sizes, ranges and hashes are those of the file itself
      ...(own && token !== undefined && { authorization: `Bearer ${token}` }),
      ...options.headers?.(url, own),
    };
    return new Promise((resolve, reject) => {
      const start = url.protocol === "https:" ? httpsRequest : httpRequest;
      const sent = start(url, { method: options.method ?? "GET", headers, signal, ...(proxy && { agent: proxy.agent }) });
      sent.setTimeout(timeoutMs, () => sent.destroy(new Error(`no answer for ${timeoutMs / 1000} s`)));
      sent.on("error", (error) => {
        if (signal.aborted) reject(signal.reason as Error);
        else if (LASTING_CODES.test(codeOf(error))) {
          reject(new HubError("network", `${url.host} cannot be reached${way}: ${error.message}`, { cause: error }));
        } else
          reject(
            new TransientHubError(`${url.host} cannot be reached${way}: ${error.message || codeOf(error)}`, undefined, { cause: error }),
          );
      });
      sent.on("response", (response) => {
        sent.setTimeout(0);
        response.on("error", () => undefined); // told to whoever reads the body
        const encoding = response.headers["content-encoding"];
        if (encoding !== undefined && encoding !== "identity" && options.method !== "HEAD") {
          response.destroy();
          reject(
            new HubError(
              "network",
              `${url.host} sends ${quote(encoding)} data although it was asked not to: what arrives could not be checked`,
            ),
          );
        } else resolve(response);
      });
      sent.end();
    });
  }

  /**
   * An HTTP error status as an error that says what to do. Signed addresses elsewhere expire: their 4xx are worth another attempt from the
   * start.
   */
  private failure(status: number, headers: IncomingHttpHeaders, url: URL, own: boolean): HubError {
    const code = String(headers["x-error-code"] ?? "");
    const said = headers["x-error-message"] ? `: ${quote(String(headers["x-error-message"]))}` : "";
    const answer = `${url.host} answers ${status}${said}${throughProxy(proxyFor(url))}`;
    if (TRANSIENT_STATUS.has(status)) {
      const wait = Number(headers["retry-after"]);
      return new TransientHubError(answer, Number.isFinite(wait) ? wait : undefined);
    }
    if (status === 416) return new RangeRefusedError(answer);
    if (!own) return new TransientHubError(answer);
    const login =
      this.settings.token === undefined
        ? "set HF_TOKEN to an access token"
        : "the token in use (HF_TOKEN or the token file) gives no access";
    if (code === "GatedRepo") {
      return new HubError(
        "gated",
        `this model is gated: accept its terms on its page at ${this.settings.endpoint}, then ` +
          `${this.settings.token === undefined ? login : "use a token of that account"} (${answer})`,
      );
    }
    if (code === "RevisionNotFound") return new HubError("not-found", `there is no such revision (${answer})`);
    if (code === "EntryNotFound") return new HubError("not-found", `there is no such file (${answer})`);
    if (status === 401 && /credentials|token/i.test(said)) {
      return new HubError("refused", `the token in use (HF_TOKEN or the token file) is not accepted (${answer})`);
    }
    if (code === "RepoNotFound" || status === 401 || status === 404) {
      return new HubError("not-found", `there is no such model, or it is private: check its name; if it is private, ${login} (${answer})`);
    }
    if (status === 403) return new HubError("refused", `access is denied; ${login} (${answer})`);
    return new HubError("refused", answer);
  }
}

function throughProxy(proxy: Proxy | undefined): string {
  return proxy ? ` through the proxy ${proxy.name} (HTTPS_PROXY, HTTP_PROXY; NO_PROXY names exceptions)` : "";
}

/** A Location header as an address. @throws HubError if it is none, or leads from https to http. */
function redirect(from: URL, location: string | undefined): URL {
  if (location === undefined || !URL.canParse(location, from)) {
    throw new HubError("network", `${from.host} redirects to ${quote(location ?? "nowhere")}`);
  }
  const to = new URL(location, from);
  if (to.protocol !== "https:" && !(to.protocol === "http:" && from.protocol === "http:")) {
    throw new HubError("network", `${from.host} redirects from ${from.protocol} to ${to.protocol}, which is refused`);
  }
  to.username = to.password = "";
  return to;
}

function metadataOf(status: number, headers: IncomingHttpHeaders): FileMetadata {
  const one = (name: string): string | undefined => {
    const value = headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  const etag = one("x-linked-etag") ?? (status < 300 ? one("etag") : undefined);
  const length = one("x-linked-size") ?? (status === 200 ? one("content-length") : undefined);
  const commit = one("x-repo-commit");
  return {
    ...(etag !== undefined && { etag: plainEtag(etag) }),
    ...(length !== undefined && /^\d+$/.test(length) && { size: Number(length) }),
    ...(commit !== undefined && { commit }),
  };
}

/** An ETag without `W/` and quotes, as it names a blob. */
export function plainEtag(etag: string): string {
  return etag.replace(/^W\//, "").replace(/^"(.*)"$/, "$1");
}
