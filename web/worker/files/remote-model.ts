import { TOKENIZER_FILES } from "../../../engine/diffusion/tokenizer-folder.ts";
import { findWeights, readDiffusersFolder } from "../../../engine/formats/diffusers.ts";
import { FormatError } from "../../../engine/formats/errors.ts";
import { type FileSystem, asObject, joinPath, parseJson, readTextFile } from "../../../engine/formats/file-system.ts";
import { httpFiles } from "../../../engine/formats/http-files.ts";
import { filesOfPage } from "../../../engine/platform/hub/page.ts";
import { type Version, versionOf } from "./download.ts";

export interface RemoteFile {
  readonly path: string;
  readonly url: string;
  /** As far as the server says. */
  readonly version: Version;
}

const NEEDED = ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae", "scheduler"];
const SETTINGS = ["config.json", "preprocessor_config.json", "scheduler_config.json", ...TOKENIZER_FILES];

/**
 * The files behind a URL: the file itself, those of a folder in diffusers layout that drawing needs, or those of a judge's network.
 * @throws FormatError for a URL that is none, or a server that has nothing there
 */
export async function planRemote(url: string, signal: AbortSignal): Promise<{ name: string; files: RemoteFile[] }> {
  const parsed = URL.parse(filesOfPage(addressOf(url.trim())), location.href);
  if (!parsed || !/^https?:$/.test(parsed.protocol)) throw new FormatError(url, "is not a web address (http or https)");
  const segments = parsed.pathname.split("/").filter(Boolean);
  const last = decodeURIComponent(segments.at(-1) ?? "");
  if (/\.(safetensors|ckpt|pt|pth|bin|onnx|p)$/i.test(last)) {
    return { name: last, files: [{ path: last, url: parsed.href, version: await askVersion(parsed.href, signal) }] };
  }
  const base = parsed.href.replace(/\/?((model_index|config)\.json)?$/, "/");
  const files = httpFiles(base);
  const paths =
    (await files.kind("model_index.json")) === "file" || (await files.kind("config.json")) !== "file"
      ? await pipelinePaths(files)
      : await networkPaths(files, "");
  const found = await Promise.all(paths.map(async (path) => ({ path, url: base + path, version: await askVersion(base + path, signal) })));
  // A hub's address ends in .../org/name/resolve/main/
  const name = segments.filter((s) => !["resolve", "main", "model_index.json", "config.json"].includes(s)).at(-1) ?? parsed.hostname;
  return { name: decodeURIComponent(name), files: found };
}

/** The page of a model that is named as the command line names it: ORG/NAME[@REVISION][/FILE or /FOLDER]. An address stays as it is. */
export function addressOf(name: string): string {
  const [, id, revision = "main", path = ""] = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([^/\s]+))?((?:\/[^/\s]+)*)$/.exec(name) ?? [];
  return id === undefined ? name : `https://huggingface.co/${id}/tree/${revision}${path}`;
}

/** @throws FormatError if there is no model_index.json */
async function pipelinePaths(files: FileSystem): Promise<string[]> {
  const index = await readDiffusersFolder(files, "");
  const paths = ["model_index.json"];
  for (const component of NEEDED) {
    if (!index.components.has(component)) continue;
    paths.push(
      ...(component.startsWith("tokenizer") || component === "scheduler"
        ? await settingsPaths(files, component)
        : await networkPaths(files, component)),
    );
  }
  return paths;
}

async function settingsPaths(files: FileSystem, folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const name of SETTINGS) if ((await files.kind(joinPath(folder, name))) === "file") paths.push(joinPath(folder, name));
  return paths;
}

/** Settings and weights of one network, all parts of them. */
async function networkPaths(files: FileSystem, folder: string): Promise<string[]> {
  const weights = await findWeights(files, folder);
  const paths = [...(await settingsPaths(files, folder)), weights];
  if (!weights.endsWith(".json")) return paths;
  const shards = asObject(weights, asObject(weights, parseJson(weights, await readTextFile(files, weights)))["weight_map"]);
  return [...paths, ...new Set(Object.values(shards).map((shard) => joinPath(folder, String(shard))))];
}

async function askVersion(url: string, signal: AbortSignal): Promise<Version> {
  try {
    const response = await fetch(url, { method: "HEAD", signal, credentials: "omit", referrerPolicy: "no-referrer", cache: "no-store" });
    return response.ok ? versionOf(response) : {};
  } catch (error) {
    if (signal.aborted) throw error;
    return {}; // the request for the file itself will say what is wrong
  }
}
