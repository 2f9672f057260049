/** What dropped or downloaded files are. */
import { isDiffusersFolder } from "../../../engine/formats/diffusers.ts";
import { FormatError } from "../../../engine/formats/errors.ts";
import { type FileSystem, joinPath, readJsonObject } from "../../../engine/formats/file-system.ts";
import { groupTensors } from "../../../engine/loading/names/groups.ts";
import { identify } from "../../../engine/loading/names/identify.ts";
import { openTensorPath } from "../../../engine/formats/open.ts";
import type { Entry } from "../../protocol.ts";

export type Found = Pick<Entry, "id" | "name" | "kind" | "part" | "detail">;

/** By the extension of single files that are not checkpoints. */
const SINGLE_FILES: Readonly<Record<string, { readonly kind: Entry["kind"]; readonly detail: string }>> = {
  onnx: { kind: "detector", detail: "detector for the judge nudenet" },
  p: { kind: "prompts", detail: "prompt embeddings for the judge q16" },
};
const TENSOR_FILE = /\.(safetensors|ckpt|pt|pth|bin)$/i;

/**
 * Everything below a folder that can be loaded: model folders, classifier folders, single files of weights.
 * @throws FormatError saying what was found instead if there is nothing
 */
export async function findEntries(files: FileSystem, root: string): Promise<Found[]> {
  const found = await search(files, root);
  if (found.length > 0) return found;
  const names = (await files.list(root)).slice(0, 6);
  throw new FormatError(
    names.join(", ") || root,
    "holds nothing that can be loaded: wanted is a folder with a model_index.json, a classifier's or CLIP's folder with config.json and " +
      "weights, a .safetensors, .ckpt, .pt or .bin file, or a judge's .onnx or .p file",
  );
}

async function search(files: FileSystem, folder: string): Promise<Found[]> {
  const name = folder.slice(folder.lastIndexOf("/") + 1);
  if (await isDiffusersFolder(files, folder)) {
    return [{ id: folder, name, kind: "model", part: "unet", detail: "folder in diffusers layout" }];
  }
  const names = await files.list(folder);
  const tensors = names.filter((n) => TENSOR_FILE.test(n));
  if (names.includes("config.json") && tensors.length > 0) {
    const type = (await readJsonObject(files, joinPath(folder, "config.json")))["model_type"];
    if (type === "clip" || type === "clip_vision_model") {
      return [{ id: folder, name, kind: "clip", part: "unet", detail: "CLIP model for the judges q16 and clip-score" }];
    }
    if (names.includes("preprocessor_config.json")) {
      return [{ id: folder, name, kind: "classifier", part: "unet", detail: "image classifier" }];
    }
  }
  const found: Found[] = [];
  for (const file of names) {
    const single = SINGLE_FILES[/\.(\w+)$/.exec(file)?.[1]?.toLowerCase() ?? ""];
    if (single) found.push({ id: joinPath(folder, file), name: file, part: "unet", ...single });
  }
  for (const file of tensors) found.push(await recogniseFile(files, joinPath(folder, file), file));
  for (const sub of names.filter((n) => n.endsWith("/"))) found.push(...(await search(files, joinPath(folder, sub.slice(0, -1)))));
  return found;
}

/** @throws FormatError for a file that is damaged, or of weights that are not part of a Stable Diffusion model */
async function recogniseFile(files: FileSystem, path: string, name: string): Promise<Found> {
  const file = await openTensorPath(files, path);
  try {
    const { kind, description } = identify(file, groupTensors(file));
    if (kind === "checkpoint") return { id: path, name, kind: "model", part: "unet", detail: description };
    if (kind === "other" || kind === "vae") {
      throw new FormatError(name, `looks like ${description}; wanted is a checkpoint, a UNet, a text encoder or a LoRA`);
    }
    return { id: path, name, kind: "overlay", part: kind === "text_encoder" ? "textEncoder" : "unet", detail: description };
  } finally {
    await file.close();
  }
}
