import { isObject } from "../../../formats/file-system.ts";
import type { Golden } from "../../golden.ts";

/** The file of a picture that the manifest of resizes names. @throws Error if it does not */
export function pictureFile(golden: Golden, name: string): string {
  const entry = golden.object("pictures")[name];
  if (!isObject(entry)) throw new Error(`"pictures" has no "${name}"`);
  return golden.text("file", entry);
}
