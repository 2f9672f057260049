import { blobSource, readAll } from "../../../engine/formats/byte-source.ts";
import { type Store as RunStore, joinPieces } from "../../../engine/formats/store.ts";
import type { Store } from "./store.ts";

/** The page's store as a run's writer wants it. */
export function runStore(store: Store): RunStore {
  const read = async (name: string): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    const blob = await store.read(name);
    return blob && readAll(blobSource(name, blob));
  };
  return {
    nameOf: (name) => name,
    read,
    async open(name) {
      const blob = await store.read(name);
      return blob && blobSource(name, blob);
    },
    write: async (name, content) =>
      store.write(name, typeof content === "string" || content instanceof Uint8Array ? content : await joinPieces(content)),
    async openLines(name) {
      const before = await read(name);
      const end = before ? before.lastIndexOf(10) + 1 : 0;
      if (before && end < before.length) await store.write(name, before.slice(0, end)); // a line that a closed tab cut off
      const file = await store.append(name);
      const encoder = new TextEncoder();
      return { write: (line) => file.write(encoder.encode(line.endsWith("\n") ? line : `${line}\n`)), close: () => file.close() };
    },
    remove: (name) => store.remove(name),
  };
}
