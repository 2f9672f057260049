import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Store } from "../formats/store.ts";
import { makeFolder, nodeFiles, openLineWriter, readBytes, writeFileAtomic } from "./node-files.ts";

/** A folder on the disk. It and what it lacks below are made when the first file is written. */
export function folderStore(folder: string): Store {
  const place = (name: string): string => join(folder, name);
  const there = async (name: string): Promise<boolean> => (await nodeFiles.kind(place(name))) === "file";
  return {
    nameOf: place,
    read: async (name) => ((await there(name)) ? readBytes(place(name)) : undefined),
    open: async (name) => ((await there(name)) ? nodeFiles.open(place(name)) : undefined),
    write: (name, content) => writeFileAtomic(place(name), content),
    async openLines(name) {
      await makeFolder(join(place(name), ".."));
      return openLineWriter(place(name));
    },
    remove: (name) => rm(place(name), { force: true }),
  };
}
