/**
 * Where the hub and its cache are. The variables are those of the huggingface_hub Python package, so that both share one cache and one
 * login.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { quote } from "../../formats/errors.ts";
import { UsageError } from "../../runtime/errors.ts";

/** The public model hub, unless HF_ENDPOINT names another. */
const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_TIMEOUT_SECONDS = 30;

export interface HubSettings {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** The folder that holds `models--ORG--NAME`. */
  readonly cache: string;
  readonly token: string | undefined;
  /** Nothing may be asked; only the cache is used. */
  readonly offline: boolean;
  readonly symlinks: boolean;
  /** How long a server may stay silent. */
  readonly timeoutMs: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * HF_ENDPOINT; HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
 * ~/.cache/huggingface/hub;
 * HF_TOKEN, else HUGGING_FACE_HUB_TOKEN, else the file HF_TOKEN_PATH, else HF_HOME/token; HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE;
 * HF_HUB_DISABLE_SYMLINKS; HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_DOWNLOAD_TIMEOUT in seconds. Source: huggingface_hub/constants.py.
 * @throws UsageError if HF_ENDPOINT is not an http(s) address.
 */
export function hubSettings(environment: Environment = process.env): HubSettings {
  const path = (name: string): string | undefined => {
    const value = environment[name];
    return value ? resolve(expand(value, environment)) : undefined;
  };
  const isTrue = (name: string): boolean => /^(1|on|yes|true)$/i.test(environment[name] ?? "");
  const home = path("HF_HOME") ?? join(path("XDG_CACHE_HOME") ?? join(homeOf(environment), ".cache"), "huggingface");
  const token = isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    ? undefined
    : (clean(environment["HF_TOKEN"]) ??
      clean(environment["HUGGING_FACE_HUB_TOKEN"]) ??
      tokenFile(path("HF_TOKEN_PATH") ?? join(home, "token")));
  const seconds = Number(environment["HF_HUB_DOWNLOAD_TIMEOUT"]);
  return {
    endpoint: endpoint(environment["HF_ENDPOINT"] || DEFAULT_ENDPOINT),
    cache: path("HF_HUB_CACHE") ?? path("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
    token,
    offline: isTrue("HF_HUB_OFFLINE") || isTrue("TRANSFORMERS_OFFLINE"),
    symlinks: !isTrue("HF_HUB_DISABLE_SYMLINKS"),
    timeoutMs: 1000 * (seconds > 0 ? seconds : DEFAULT_TIMEOUT_SECONDS),
  };
}

function endpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new UsageError(`HF_ENDPOINT is ${quote(text)}; it should be an address such as ${DEFAULT_ENDPOINT}`);
  }
  return text.replace(/\/+$/, "");
}

function homeOf(environment: Environment): string {
  return environment["HOME"] || environment["USERPROFILE"] || homedir();
}

/** `~`, `$NAME` and `${NAME}` as a shell would; names that are not set stay as they are. */
function expand(path: string, environment: Environment): string {
  return path
    .replace(/^~(?=$|[/\\])/, () => homeOf(environment))
    .replace(/\$(?:(\w+)|\{(\w+)\})/g, (all, bare?: string, braced?: string) => environment[bare ?? braced ?? ""] ?? all);
}

function tokenFile(path: string): string | undefined {
  try {
    return clean(readFileSync(path, "utf8"));
  } catch {
    return undefined; // not logged in
  }
}

function clean(token: string | undefined): string | undefined {
  return token?.replace(/[\r\n]/g, "").trim() || undefined;
}
