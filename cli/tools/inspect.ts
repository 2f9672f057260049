import type { Command } from "commander";
import { isDiffusersFolder, openWeights, readDiffusersFolder } from "../../engine/formats/diffusers.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { openOnnx } from "../../engine/formats/onnx/onnx.ts";
import { readNumpyPickle } from "../../engine/formats/pickle/numpy.ts";
import { SNIFF_BYTES, sniff } from "../../engine/formats/sniff.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { isPng, readPngTexts } from "../../engine/formats/picture/png.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { componentName } from "../../engine/loading/names/groups.ts";
import type { TensorFile } from "../../engine/formats/tensor-file.ts";
import { type Inspection, inspectTensorFile } from "../../engine/loading/inspect.ts";
import { nodeFiles, readBytes } from "../../engine/platform/node-files.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { type Context, action } from "../context.ts";
import { suitedTo } from "../model.ts";
import { parseHubReference, resolveModel } from "../model-source.ts";
import { formatBytes, formatCount, quoted } from "../../engine/run/text/format.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

/** What one file holds. */
interface Contents {
  readonly file: string;
  readonly looksLike: string;
  readonly tensorCount: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Tensors by element type. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Parts of a Stable Diffusion model, with what each lacks. */
  readonly components: Inspection["components"];
  readonly inspection: Omit<Inspection, "components" | "description" | "tensors" | "parameters" | "bytes" | "dtypes">;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];
}

export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .description("look inside a checkpoint, a model folder or a generated picture")
    .argument(
      "<file>",
      "safetensors, PyTorch checkpoint, shard index, ONNX file, pickled prompts, diffusers folder, PNG, or hub model " +
        "ORG/NAME[@REVISION][/FILE], which is fetched",
    )
    .action(
      action(async (_options, context, file) => {
        const path = await placeOf(file!, context);
        const kind = await nodeFiles.kind(path);
        if (kind === undefined) throw new FormatError(path, "no such file or folder");
        const { json, text } =
          kind === "folder" ? await inspectFolder(path) : (await isPicture(path)) ? await inspectPicture(path) : await inspectTensors(path);
        context.result(json, text);
      }),
    );
}

/** The path that a name stands for; a hub model is downloaded as loading it would. @throws HubError */
async function placeOf(name: string, context: Context): Promise<string> {
  const path = resolvePath(name);
  if ((await nodeFiles.kind(path)) !== undefined || !parseHubReference(name)) return path;
  return (await resolveModel(name, context, suitedTo(context))).folder;
}

interface Inspected {
  readonly json: object;
  readonly text: string;
}

async function isPicture(path: string): Promise<boolean> {
  const source = await nodeFiles.open(path);
  try {
    return isPng(await source.read(0, Math.min(8, source.size)));
  } finally {
    await source.close();
  }
}

async function inspectPicture(path: string): Promise<Inspected> {
  const bytes = await readBytes(path);
  const { width, height } = await decodePng(path, bytes);
  const texts = Object.fromEntries(await readPngTexts(path, bytes));
  const lines = Object.entries(texts).map(
    ([keyword, text]) =>
      `${keyword}:\n${text
        .split("\n")
        .map((line) => `  ${quoted(line).slice(1, -1).replaceAll('\\"', '"')}`)
        .join("\n")}`,
  );
  return {
    json: { file: path, kind: "png", width, height, texts },
    text: [`PNG picture, ${width}x${height} pixels`, ...(lines.length > 0 ? lines : ["without parameters"])].join("\n"),
  };
}

async function inspectTensors(path: string): Promise<Inspected> {
  const other = await inspectOther(path);
  if (other) return other;
  const contents = await contentsOf(await openTensorPath(nodeFiles, path), path);
  return { json: { kind: "tensors", ...contents }, text: `${summary(contents)}\n\n${tensorTable(contents)}` };
}

/** What judges read besides checkpoints: NudeNet's ONNX file, and Q16's pickled prompts. Undefined for anything else. */
async function inspectOther(path: string): Promise<Inspected | undefined> {
  if (/\.json$/i.test(path)) return undefined;
  const source = await nodeFiles.open(path);
  try {
    const head = await source.read(0, Math.min(SNIFF_BYTES, source.size));
    if (sniff(head) !== "other") return undefined;
    if (head[0] === 0x80) {
      const { shape } = readNumpyPickle(path, await readBytes(path));
      return {
        json: { kind: "numpy pickle", file: path, shape },
        text: `a pickled NumPy array [${shape.join(", ")}], as Q16's prompts are`,
      };
    }
    if (head[0] !== 0x08) return undefined; // ModelProto begins with ir_version
    const file = await openOnnx(source);
    const contents = await describe(path, file);
    return {
      json: { kind: "onnx", ...contents, looksLike: ONNX },
      text: `${summary({ ...contents, looksLike: ONNX })}\n\n${tensorTable(contents)}`,
    };
  } finally {
    await source.close();
  }
}

const ONNX = "an ONNX model, as --judge nudenet reads it";

async function describe(path: string, file: TensorFile): Promise<Contents> {
  const { description, components, tensors: tensorCount, parameters, bytes, dtypes, ...inspection } = await inspectTensorFile(file);
  const tensors = [...file.entries.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const { metadata } = file;
  return { file: path, looksLike: description, tensorCount, parameters, bytes, dtypes, components, inspection, metadata, tensors };
}

/** What a file holds, which is closed. */
async function contentsOf(file: TensorFile, path = file.name): Promise<Contents> {
  try {
    return await describe(path, file);
  } finally {
    await file.close();
  }
}

/** A line for each part of a model. */
function partLines({ components, inspection }: Contents): string[] {
  const some = (names: readonly string[]): string =>
    `${names
      .slice(0, 3)
      .map((n) => quoted(n).slice(1, -1))
      .join(", ")}${names.length > 3 ? `, and ${names.length - 3} more` : ""}`;
  const lines = components.map(({ component, tensors, parameters, whole, missing, extra }) => {
    const state = whole ? "whole" : missing ? `lacks ${some(missing)}` : "a part";
    return `  ${componentName(component)}: ${formatCount(tensors)} tensors, ${formatCount(parameters)} parameters, ` +
      `${state}${extra.length > 0 ? `; not used: ${some(extra)}` : ""}`;
  });
  const { trained } = inspection;
  if (trained) {
    const share = trained.share === undefined ? "" : ` (${(100 * trained.share).toFixed(1)}% of its ${componentName(trained.component)})`;
    lines.push(`  method: ${trained.method ?? "not told by what was trained"}`);
    lines.push(
      `  trained: ${formatCount(trained.tensors)} tensors, ${formatCount(trained.parameters)} parameters${share}: ` +
        `${some(trained.layers.map(([layer, count]) => `${count} ${layer}`))}`,
    );
    if (trained.needs !== undefined) lines.push(`  needs: ${trained.needs}`);
  }
  if (inspection.predictionType === "v_prediction") lines.push("  seems to predict the velocity (v_prediction)");
  if (inspection.emaTensors > 0) lines.push(`  averaged (EMA) UNet weights besides: ${formatCount(inspection.emaTensors)} tensors`);
  if (inspection.leftovers > 0) {
    lines.push(`  beside the weights, not needed: ${formatCount(inspection.leftovers)} tensors (${some(inspection.leftoverNames)})`);
  }
  if (components.length > 0 && inspection.unknown.length > 0) lines.push(`  of unknown use: ${some(inspection.unknown)}`);
  return lines;
}

function summary(contents: Contents): string {
  const { looksLike, tensorCount, parameters, bytes, dtypes, metadata } = contents;
  const types = Object.entries(dtypes)
    .map(([dtype, count]) => `${count} ${dtype}`)
    .join(", ");
  const notes = Object.entries(metadata).map(
    ([key, value]) => `  ${quoted(key).slice(1, -1)}: ${quoted(value.length > 200 ? `${value.slice(0, 200)}...` : value).slice(1, -1)}`,
  );
  return [
    `looks like: ${looksLike}`,
    `${formatCount(tensorCount)} tensors (${types || "none"}), ${formatCount(parameters)} parameters, ${formatBytes(bytes)}`,
    ...partLines(contents),
    ...(notes.length > 0 ? ["metadata:", ...notes] : []),
  ].join("\n");
}

function tensorTable({ tensors }: Contents): string {
  return terminalTable(
    columnsOf(["tensor", "dtype", "shape"]),
    tensors.map((t) => [quoted(t.name).slice(1, -1), t.dtype, `[${t.shape.join(", ")}]`]),
  );
}

/** A pipeline's folder component by component, or a single model's folder. */
async function inspectFolder(path: string): Promise<Inspected> {
  if (!(await isDiffusersFolder(nodeFiles, path))) {
    const contents = await contentsOf(await openWeights(nodeFiles, path));
    return {
      json: { kind: "model folder", folder: path, ...contents },
      text: `${contents.file}\n${summary(contents)}\n\n${tensorTable(contents)}`,
    };
  }
  const index = await readDiffusersFolder(nodeFiles, path);
  const components: object[] = [];
  const rows: string[][] = [];
  for (const { name, className, folder } of index.components.values()) {
    const contents = (await hasWeights(folder)) ? await contentsOf(await openWeights(nodeFiles, folder)) : undefined;
    components.push({ name, className, ...(contents && { ...contents, tensors: undefined }) });
    const { parameters = 0, dtypes = {}, bytes = 0 } = contents ?? {};
    rows.push([name, className, ...(contents ? [formatCount(parameters), Object.keys(dtypes).join(", "), formatBytes(bytes)] : [])]);
  }
  const table = terminalTable(columnsOf(["component", "class", "parameters", "dtype", "size"], [2, 4]), rows);
  const note = index.className.endsWith("Safe")
    ? "\nSafe Latent Diffusion is a defence in code: the weights are those of a plain model, and generate --sld draws with it."
    : "";
  return {
    json: { kind: "diffusers folder", folder: path, className: index.className, components },
    text: `diffusers folder of a ${index.className}${note}\n\n${table}`,
  };
}

/** Tokenizers and schedulers have none. */
async function hasWeights(folder: string): Promise<boolean> {
  return (
    (await nodeFiles.kind(folder)) === "folder" &&
    (await nodeFiles.list(folder)).some((name) => /\.(safetensors|bin)(\.index(\.\w+)?\.json)?$/.test(name))
  );
}
