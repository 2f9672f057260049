/** What the name after --model, --unet or --classifier stands for: the bundled model, something on the disk, or a model of the hub. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { quote } from "../engine/formats/errors.ts";
import { didYouMean } from "../engine/formats/text/near.ts";
import type { ModelSource } from "../engine/formats/model-source.ts";
import { HubError, type HubOptions, isHubId, resolveHubModel } from "../engine/platform/hub/hub.ts";
import { parseHubPage } from "../engine/platform/hub/page.ts";
import { clipMerges, modelSource, resolvePath } from "../engine/platform/model-source-node.ts";
import { nodeFiles } from "../engine/platform/node-files.ts";
import { UsageError } from "../engine/runtime/errors.ts";
import type { Context } from "./context.ts";
import { formatBytes } from "../engine/run/text/format.ts";

/** What a download needs of a command's context. */
export type DownloadContext = Pick<Context, "say" | "withProgress" | "signal">;

/** As for `resolveHubModel`: which part of a model is wanted, if it comes from the hub. */
export type Wanted = Pick<HubOptions, "components" | "variant" | "weights">;

/** ORG/NAME, a branch, tag or commit after "@", and a file in the repository. */
export interface HubReference {
  readonly id: string;
  readonly revision: string | undefined;
  readonly file: string | undefined;
  /** A folder in the repository instead of a file. */
  readonly subfolder: string | undefined;
}

/** Files that can be named in a repository; anything else of so many parts is a path that does not exist. */
const FILE = /\.(?:safetensors|ckpt|pt|pth|bin|onnx|index\.json)$/i;

/** How models are named, for --help. */
export const MODEL_NAMES =
  "emoji (bundled), a folder in diffusers layout, a checkpoint file, or a hub model ORG/NAME[@REVISION][/FILE or /FOLDER] or its " +
    "page's address";

/** ORG/NAME[@REVISION][/FILE or /FOLDER], or a page's address; undefined for anything else. */
export function parseHubReference(name: string): HubReference | undefined {
  const [, own = "", ownRevision, ownPath] = /^([^/@\s]+\/[^/@\s]+)(?:@([^/@\s]+))?(?:\/(.+?))?\/?$/.exec(name) ?? [];
  const { id, revision, path } = parseHubPage(name) ?? { id: own, revision: ownRevision, path: ownPath };
  if (!isHubId(id) || FILE.test(id)) return undefined;
  if (path !== undefined && !path.split("/").every((part) => /^[\w. -]*[\w-][\w. -]*$/.test(part))) return undefined;
  const isFile = path !== undefined && FILE.test(path);
  return { id, revision, file: isFile ? path : undefined, subfolder: isFile ? undefined : path };
}

const resolved = new Map<string, Promise<string>>();

/**
 * A model by its name: `emoji`, a folder or file on the disk, else a model of the hub, which is downloaded unless it is in the cache.
 * `synthetic:NAME` is passed on. It is not opened yet.
 * @throws UsageError listing what was tried; HubError; AbortError if the context's signal stops the download.
 */
export async function resolveModel(name: string, context: DownloadContext, wanted: Wanted = {}): Promise<ModelSource> {
  if (name.startsWith("synthetic:")) return modelSource(name);
  return { files: nodeFiles, folder: await resolveName(name, context, wanted), clipMerges };
}

/** The path of a file of weights, named as a path or as ORG/NAME[@REVISION]/FILE. @throws as `resolveModel` */
export function resolveWeights(name: string, context: DownloadContext): Promise<string> {
  return resolveName(name, context, {});
}

/** Resolved once for a command, however often it asks. */
function resolveName(name: string, context: DownloadContext, wanted: Wanted): Promise<string> {
  const path = resolvePath(name);
  if (path !== name || existsSync(path)) return Promise.resolve(path);
  const reference = parseHubReference(name);
  const missing = `There is no file or folder ${quote(resolve(name))}`;
  if (!reference) {
    return Promise.reject(
      new UsageError(
        `${quote(name)} is not a model. It is not "emoji". ${missing}. It is not the name of a hub model either (ORG/NAME, ` +
          `ORG/NAME@REVISION or ORG/NAME/FILE)${didYouMean(name, ["emoji"])}`,
      ),
    );
  }
  // A path into a folder that is here is a mistyped path, not a repository.
  if (reference.revision === undefined && existsSync(name.split("/")[0]!)) {
    const hub = name.replace(reference.id, `${reference.id}@main`);
    return Promise.reject(
      new UsageError(
        `${quote(name)} is not a model. ${missing}, though its first folder is here. If a hub model is meant, write ${quote(hub)}`,
      ),
    );
  }
  const key = JSON.stringify([name, wanted]);
  const found = resolved.get(key) ?? download(name, reference, context, wanted);
  resolved.set(key, found);
  return found;
}

async function download(
  name: string,
  { id, revision, file, subfolder }: HubReference,
  context: DownloadContext,
  wanted: Wanted,
): Promise<string> {
  try {
    const model = await context.withProgress(`fetching ${id}`, (progress) =>
      resolveHubModel(id, {
        ...wanted,
        revision,
        subfolder,
        ...(file !== undefined && { files: [file] }),
        signal: context.signal,
        onNote: (note) => progress.say(note),
        onProgress: ({ file: current, done, total }) =>
          progress.update(total > 0 ? done / total : 1, `${formatBytes(done)} of ${formatBytes(total)}  ${current}`),
      }),
    );
    if (model.fetchedBytes > 0) context.say(`fetched ${formatBytes(model.fetchedBytes)} of ${id} into ${model.folder}`);
    const [only] = model.files;
    const single = file ?? (model.files.length === 1 && FILE.test(only!) ? only : undefined);
    return join(model.folder, ...(single ?? subfolder ?? "").split("/"));
  } catch (error) {
    if (!(error instanceof HubError) || !["not-found", "offline", "network"].includes(error.kind)) throw error;
    throw new HubError(error.kind, `${error.message} (and there is no file or folder ${quote(resolve(name))})`, { cause: error });
  }
}
