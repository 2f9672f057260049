import { findWeights, readDiffusersFolder } from "../../engine/formats/diffusers.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { asObject, parseJson, readTextFile } from "../../engine/formats/file-system.ts";
import { httpFiles } from "../../engine/formats/http-files.ts";
import { type Version, versionOf } from "./download.ts";

export interface RemoteFile {
  readonly path: string;
  readonly url: string;
  /** As far as the server says. */
  readonly version: Version;
}

const NEEDED = ["text_encoder", "tokenizer", "unet", "vae", "scheduler"];
const SETTINGS = ["config.json", "scheduler_config.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"];

/**
 * The files behind a URL: the file itself, or those of a folder in diffusers layout that drawing needs.
 * @throws FormatError for a URL that is none, or a server that has nothing there
 */
export async function planRemote(url: string, signal: AbortSignal): Promise<{ name: string; files: RemoteFile[] }> {
  const parsed = URL.parse(url, location.href);
  if (!parsed || !/^https?:$/.test(parsed.protocol)) throw new FormatError(url, "is no web address (http or https)");
  const segments = parsed.pathname.split("/").filter(Boolean);
  const last = decodeURIComponent(segments.at(-1) ?? "");
  if (/\.(safetensors|ckpt|pt|pth|bin)$/i.test(last)) return { name: last, files: [{ path: last, url: parsed.href, version: await askVersion(parsed.href, signal) }] };
  const base = parsed.href.replace(/\/?(model_index\.json)?$/, "/");
  const files = httpFiles(base);
  const index = await readDiffusersFolder(files, "");
  const paths = ["model_index.json"];
  for (const component of NEEDED) {
    if (!index.components.has(component)) continue;
    for (const name of SETTINGS) if ((await files.kind(`${component}/${name}`)) === "file") paths.push(`${component}/${name}`);
    if (component === "tokenizer" || component === "scheduler") continue;
    const weights = await findWeights(files, component);
    paths.push(weights);
    if (!weights.endsWith(".json")) continue;
    const shards = asObject(weights, asObject(weights, parseJson(weights, await readTextFile(files, weights)))["weight_map"]);
    paths.push(...new Set(Object.values(shards).map((shard) => `${component}/${String(shard)}`)));
  }
  const found = await Promise.all(paths.map(async (path) => ({ path, url: base + path, version: await askVersion(base + path, signal) })));
  // A hub's address ends in .../org/name/resolve/main/
  const name = segments.filter((s) => !["resolve", "main", "model_index.json"].includes(s)).at(-1) ?? parsed.hostname;
  return { name: decodeURIComponent(name), files: found };
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
