import { type FileSystem, memoryFiles } from "../../engine/formats/file-system.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { EMOJI } from "./checkpoints.ts";

/** The given files, and below `assets/emoji/` the bundled model's. */
export function withEmoji(contents: Readonly<Record<string, Uint8Array>>): FileSystem {
  const memory = memoryFiles(contents);
  const isEmoji = (path: string): boolean => path === EMOJI || path.startsWith(`${EMOJI}/`);
  return {
    open: (path) => (isEmoji(path) ? nodeFiles : memory).open(path),
    kind: (path) => (isEmoji(path) ? nodeFiles : memory).kind(path),
    list: (path) => (isEmoji(path) ? nodeFiles : memory).list(path),
  };
}
