import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Store } from "../formats/store.ts";
import { makeFolder, nodeFiles, openLineWriter, readBytes, writeFileAtomic } from "./node-files.ts";

/** A folder on the disk. It and what it lacks below are made when the first file is written. */
export function folderStore(folder: string): Store {
  const place = (name: string): string => join(folder, name);
  return {
    nameOf: place,
    read: async (name) => ((await nodeFiles.kind(place(name))) === "file" ? readBytes(place(name)) : undefined),
    write: (name, content) => writeFileAtomic(place(name), content),
    async openLines(name) {
      await makeFolder(join(place(name), ".."));
      return openLineWriter(place(name), { append: true });
    },
    remove: (name) => rm(place(name), { force: true }),
  };
}
