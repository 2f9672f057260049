import { isObject, joinPath, memoryFiles } from "../../../formats/file-system.ts";
import { openTensorPath } from "../../../formats/open.ts";
import { joinPieces } from "../../../formats/store.ts";
import type { TensorFile } from "../../../formats/tensor-file.ts";
import { type LoadOptions, loadStableDiffusion } from "../../../loading/load.ts";
import { errorMessage } from "../../../runtime/errors.ts";
import {
  LAYOUTS, LAYOUT_NAMES, type LayoutName, type Unlearned, mergedLowRank, outputFiles, writtenChanges,
} from "../../../unlearn/index.ts";
import { type Trace, modelFolder } from "./trace.ts";

/** The files in the layouts of the methods' authors that a trace names. */
export function exampleFiles({ golden }: Trace): string[] {
  const { example, examples } = golden.json;
  const one = isObject(example) && typeof example["file"] === "string" ? [example["file"]] : [];
  return [...one, ...(isObject(examples) ? Object.keys(examples) : [])];
}

/**
 * Each example file of a trace is read over the model, where it must give the weights that the replay ended with, and written from the
 * replay's result, where it must have the same tensors.
 * @param tolerance of the weights
 */
export async function compareExamples(trace: Trace, result: Unlearned, tolerance: number): Promise<void> {
  const { golden, rows, name } = trace;
  for (const file of exampleFiles(trace)) {
    await rows.guard(name, file, async () => {
      const path = joinPath(golden.folder, file);
      const example = await openTensorPath(trace.context.files, path);
      try {
        await read(trace, result, file, path, tolerance);
        await written(trace, result, file, example, tolerance);
      } finally {
        await example.close();
      }
    });
  }
}

/** The model with the file laid over it, against the result's weights. */
async function read(trace: Trace, result: Unlearned, file: string, path: string, tolerance: number): Promise<void> {
  const { rows, name, context: { files }, model } = trace;
  const options: LoadOptions = result.alpha !== null
    ? { lora: [{ file: path }] }
    : result.changed[0]?.component === "unet" ? { unet: path } : { textEncoder: path };
  const expected = result.alpha === null
    ? result.changed.map(({ component, name: tensor, read: own }) => ({ component, tensor, own }))
    : [...(await mergedLowRank(model, result.changed, result.alpha / result.changed[0]!.shape[0]!))].flatMap(([component, tensors]) =>
        [...tensors].map(([tensor, data]) => ({ component, tensor, own: () => Promise.resolve(data) })));
  // Where a gradient is mathematically zero, Adam makes a step of rounding.
  // A closed form has no gradients.
  const noise = new Set("zero_grad" in trace.golden.json ? trace.golden.texts("zero_grad") : []);
  const folder = await modelFolder(trace);
  const loaded = await loadStableDiffusion(model.device, { files, folder }, { partial: true, ...options });
  try {
    const pairs = expected.filter(({ tensor }) => !noise.has(tensor)).map(({ component, tensor, own }) => async () => {
      const { source } = (component === "unet" ? loaded.parts.unet : loaded.parts.textEncoder).parameters;
      return [await own(), await source.readFloat32(tensor)] as const;
    });
    rows.error(name, `${file} read`, await apart(pairs), tolerance, "relative L2", `${expected.length} tensors`);
  } finally {
    await loaded.destroy();
  }
}

/** The result in the layout that has the file's names, against the file. */
async function written(trace: Trace, result: Unlearned, file: string, example: TensorFile, tolerance: number): Promise<void> {
  const { rows, name } = trace;
  const tried: string[] = [];
  for (const layout of LAYOUT_NAMES.filter((one) => LAYOUTS[one].ending !== "" && file.endsWith(LAYOUTS[one].ending))) {
    const own = await writtenIn(trace, result, layout).catch((error: unknown) => errorMessage(error));
    if (typeof own === "string") continue; // a layout for something else
    const names = [...example.entries.keys()];
    const other = names.filter((tensor) => own.entries.get(tensor)?.shape.join() !== example.entries.get(tensor)!.shape.join());
    const more = [...own.entries.keys()].filter((tensor) => !example.entries.has(tensor));
    if (other.length + more.length > 0) {
      tried.push(`${layout} has other tensors (${[...other, ...more][0]})`);
      continue;
    }
    const pairs = names.map((tensor) => async () => [await own.readFloat32(tensor), await example.readFloat32(tensor)] as const);
    return rows.error(name, `${file} written`, await apart(pairs), tolerance, "relative L2", `${names.length} tensors, ${layout}`);
  }
  rows.failed(name, `${file} written`, `no layout has its tensors: ${tried.join("; ")}`);
}

/** Relative L2 over all tensors together, ours and theirs. */
async function apart(pairs: readonly (() => Promise<readonly [ours: Float32Array, theirs: Float32Array]>)[]): Promise<number> {
  let [squares, size] = [0, 0];
  for (const pair of pairs) {
    const [ours, theirs] = await pair();
    theirs.forEach((x, i) => {
      squares += (ours[i]! - x) ** 2;
      size += x * x;
    });
  }
  return Math.sqrt(squares / size);
}

async function writtenIn({ model }: Trace, result: Unlearned, layout: LayoutName): Promise<TensorFile> {
  const out = `out${LAYOUTS[layout].ending}`;
  const [one] = await outputFiles(layout, model, await writtenChanges(result), out);
  return openTensorPath(memoryFiles({ [out]: await joinPieces(one!.pieces) }), out);
}
