/**
 * Receler's erasers (arXiv 2311.17717): an adapter behind the cross attention of each transformer block, y + up(gelu(down(y))) with y the
 * attention's output.
 * Source: github.com/jasper0314-huang/Receler, receler/erasers/utils.py (`AdapterEraser`, the folder's files) and diffusers_erasers.py
 * (where they go).
 */
import { findWeights } from "../formats/diffusers.ts";
import { FormatError, quote } from "../formats/errors.ts";
import { type FileSystem, joinPath, readJsonObject } from "../formats/file-system.ts";
import { type TensorEntry, type TensorFile, tensorFile } from "../formats/tensor-file.ts";
import { InputError } from "../runtime/errors.ts";
import type { WeightSource } from "../nn/parameters.ts";

const WEIGHTS = "eraser_weights.pt";
const CONFIG = "eraser_config.json";
const NAME = /^(.+\.attentions\.\d+)\.(down|up)\.(weight|bias)$/;

/**
 * The file to lay over a component when a path names a folder: an eraser's weights, or the weights of a component's own folder. Any other
 * path as it is. @throws FormatError for an eraser of another type than adapters
 */
export async function overlayPath(files: FileSystem, path: string): Promise<string> {
  if ((await files.kind(path)) !== "folder") return path;
  if ((await files.kind(joinPath(path, WEIGHTS))) !== "file") return findWeights(files, path);
  const config = joinPath(path, CONFIG);
  const { eraser_type: type } = (await files.kind(config)) === "file" ? await readJsonObject(files, config) : { eraser_type: "adapter" };
  if (type !== "adapter") {
    throw new FormatError(config, `"eraser_type" is ${quote(JSON.stringify(type) ?? "nothing")}; "adapter" is expected`);
  }
  return joinPath(path, WEIGHTS);
}

/** Whether every one of these tensors is an adapter's. */
export function isEraser(names: Iterable<string>): boolean {
  const all = [...names];
  return all.length > 0 && all.every((name) => NAME.test(name));
}

/**
 * `base` with adapters besides its own tensors: `PATH.transformer_blocks.N.attn2.eraser.(down|up).(weight|bias)` for each of the file's
 * `PATH.(down|up)...`, in every
 * transformer block there, as the published code puts them.
 * @throws InputError for an adapter where the model has no cross attention, one of another width, or one that is not whole
 */
export function withErasers(base: WeightSource, file: TensorFile): { readonly names: readonly string[]; readonly tensors: TensorFile } {
  const entries = new Map<string, TensorEntry>();
  const stored = new Map<string, string>();
  for (const entry of file.entries.values()) {
    const [, path, half, leaf] = NAME.exec(entry.name) as unknown as [string, string, "down" | "up", "weight" | "bias"];
    const blocks = [...base.names()].filter(
      (name) => name.startsWith(`${path}.transformer_blocks.`) && name.endsWith(".attn2.to_out.0.weight"),
    );
    if (blocks.length === 0) {
      throw new InputError(
        `${file.name}: ${quote(path)} has an eraser, but no cross attention in this model; is it made for another model?`,
      );
    }
    for (const block of blocks) {
      const width = base.shape(block)![0]!;
      const rank = file.entries.get(`${path}.down.weight`)?.shape[0];
      const expected =
        rank === undefined
          ? []
          : half === "down"
            ? leaf === "weight"
              ? [rank, width]
              : [rank]
            : leaf === "weight"
              ? [width, rank]
              : [width];
      if (entry.shape.join() !== expected.join()) {
        throw new InputError(
          `${file.name}: tensor ${quote(entry.name)} has shape [${entry.shape.join(",")}], an eraser of a layer ${width} wide has ` +
            `[${expected.join(",")}]`,
        );
      }
      const name = block.replace(/to_out\.0\.weight$/, `eraser.${half}.${leaf}`);
      entries.set(name, { ...entry, name, stored: entry.name });
      stored.set(name, entry.name);
    }
  }
  for (const name of entries.keys()) {
    for (const part of ["down.weight", "down.bias", "up.weight", "up.bias"]) {
      const wanted = name.replace(/(down|up)\.(weight|bias)$/, part);
      if (!entries.has(wanted)) throw new InputError(`${file.name}: an eraser lacks its ${part} (of ${quote(stored.get(name)!)})`);
    }
  }
  const tensors = tensorFile({
    name: file.name,
    metadata: file.metadata,
    entries,
    readBytes: ({ name }) => file.readBytes(stored.get(name)!),
    close: () => file.close(),
  });
  return { names: [...base.names(), ...entries.keys()], tensors };
}
