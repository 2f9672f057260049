import { isObject, joinPath } from "../../../formats/file-system.ts";
import type { RgbImage } from "../../../formats/picture/image.ts";
import { decodePng } from "../../../platform/picture/png-codec.ts";
import { readAll } from "../../../formats/byte-source.ts";
import type { VerifyContext } from "../../context.ts";
import { type Golden, openGolden } from "../../golden.ts";

/** A PNG of a reference, by its path below the reference's folder. @throws FormatError */
export async function referencePicture(golden: Golden, context: VerifyContext, path: string): Promise<RgbImage> {
  const file = joinPath(golden.folder, path);
  const source = await context.files.open(file);
  try {
    return await decodePng(file, await readAll(source));
  } finally {
    await source.close();
  }
}

/** The file of a picture that the manifest of resizes names. @throws Error if it does not */
export function pictureFile(golden: Golden, name: string): string {
  const entry = golden.object("pictures")[name];
  if (!isObject(entry)) throw new Error(`"pictures" has no "${name}"`);
  return golden.text("file", entry);
}

/** Runs `work` with the reference of another name in the same folder. @throws FormatError if there is none */
export async function withNeighbour<T>(
  golden: Golden,
  context: VerifyContext,
  name: string,
  work: (other: Golden) => Promise<T>,
): Promise<T> {
  const other = await openGolden(context.files, joinPath(golden.folder, `${name}.json`));
  try {
    return await work(other);
  } finally {
    await other.close();
  }
}
