import type { Command } from "commander";
import { isDiffusersFolder, openWeights, readDiffusersFolder } from "../engine/formats/diffusers.ts";
import { FormatError } from "../engine/formats/errors.ts";
import { openTensorPath } from "../engine/formats/open.ts";
import { decodePng, isPng, readPngTexts } from "../engine/formats/png.ts";
import { type TensorFile, entrySize } from "../engine/formats/tensor-file.ts";
import { nodeFiles, readBytes } from "../engine/platform/node-files.ts";
import { resolvePath } from "../engine/platform/model-source-node.ts";
import { action } from "./context.ts";
import { guessKind } from "./guess-kind.ts";
import { formatBytes, formatCount, formatTable, quoted } from "./table.ts";

/** Tensors of one file, counted. */
interface Contents {
  readonly file: string;
  readonly looksLike: string;
  readonly tensorCount: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Tensors by element type. */
  readonly dtypes: Readonly<Record<string, number>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];
}

export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .description("look inside a checkpoint, a model folder or a generated picture")
    .argument("<file>", "safetensors, PyTorch checkpoint, shard index, diffusers folder, or PNG")
    .action(
      action(async (_options, context, file) => {
        const path = resolvePath(file!);
        const kind = await nodeFiles.kind(path);
        if (kind === undefined) throw new FormatError(path, "no such file or folder");
        const { json, text } = kind === "folder" ? await inspectFolder(path) : (await isPicture(path)) ? await inspectPicture(path) : await inspectTensors(path);
        context.result(json, text);
      }),
    );
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
  const lines = Object.entries(texts).map(([keyword, text]) => `${keyword}:\n${text.split("\n").map((line) => `  ${quoted(line).slice(1, -1).replaceAll('\\"', '"')}`).join("\n")}`);
  return { json: { file: path, kind: "png", width, height, texts }, text: [`PNG picture, ${width}x${height} pixels`, ...(lines.length > 0 ? lines : ["without parameters"])].join("\n") };
}

async function inspectTensors(path: string): Promise<Inspected> {
  const file = await openTensorPath(nodeFiles, path);
  try {
    const contents = describe(path, file);
    return { json: { kind: "tensors", ...contents }, text: `${summary(contents)}\n\n${tensorTable(contents)}` };
  } finally {
    await file.close();
  }
}

function describe(path: string, file: TensorFile): Contents {
  const tensors = [...file.entries.values()];
  const dtypes: Record<string, number> = {};
  for (const { dtype } of tensors) dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
  return {
    file: path,
    looksLike: guessKind(tensors.map((t) => t.name)),
    tensorCount: tensors.length,
    parameters: tensors.reduce((sum, t) => sum + entrySize(t), 0),
    bytes: tensors.reduce((sum, t) => sum + t.byteLength, 0),
    dtypes,
    metadata: file.metadata,
    tensors: tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
  };
}

function summary({ looksLike, tensorCount, parameters, bytes, dtypes, metadata }: Contents): string {
  const types = Object.entries(dtypes).map(([dtype, count]) => `${count} ${dtype}`).join(", ");
  const notes = Object.entries(metadata).map(([key, value]) => `  ${quoted(key).slice(1, -1)}: ${quoted(value.length > 200 ? `${value.slice(0, 200)}...` : value).slice(1, -1)}`);
  return [`looks like: ${looksLike}`, `${formatCount(tensorCount)} tensors (${types || "none"}), ${formatCount(parameters)} parameters, ${formatBytes(bytes)}`, ...(notes.length > 0 ? ["metadata:", ...notes] : [])].join("\n");
}

function tensorTable({ tensors }: Contents): string {
  return formatTable([{ title: "tensor" }, { title: "dtype" }, { title: "shape" }], tensors.map((t) => [quoted(t.name).slice(1, -1), t.dtype, `[${t.shape.join(", ")}]`]));
}

/** A pipeline's folder component by component, or a single model's folder. */
async function inspectFolder(path: string): Promise<Inspected> {
  if (!(await isDiffusersFolder(nodeFiles, path))) {
    const file = await openWeights(nodeFiles, path);
    try {
      const contents = describe(file.name, file);
      return { json: { kind: "model folder", folder: path, ...contents }, text: `${file.name}\n${summary(contents)}\n\n${tensorTable(contents)}` };
    } finally {
      await file.close();
    }
  }
  const index = await readDiffusersFolder(nodeFiles, path);
  const components: object[] = [];
  const rows: string[][] = [];
  for (const { name, className, folder } of index.components.values()) {
    const contents = (await hasWeights(folder)) ? await weightsOf(folder) : undefined;
    components.push({ name, className, ...(contents && { ...contents, tensors: undefined }) });
    rows.push([name, className, contents ? formatCount(contents.parameters) : "", contents ? Object.keys(contents.dtypes).join(", ") : "", contents ? formatBytes(contents.bytes) : ""]);
  }
  const table = formatTable([{ title: "component" }, { title: "class" }, { title: "parameters", right: true }, { title: "dtype" }, { title: "size", right: true }], rows);
  return { json: { kind: "diffusers folder", folder: path, className: index.className, components }, text: `diffusers folder of a ${index.className}\n\n${table}` };
}

/** Tokenizers and schedulers have none. */
async function hasWeights(folder: string): Promise<boolean> {
  return (await nodeFiles.kind(folder)) === "folder" && (await nodeFiles.list(folder)).some((name) => /\.(safetensors|bin)(\.index(\.\w+)?\.json)?$/.test(name));
}

async function weightsOf(folder: string): Promise<Contents> {
  const file = await openWeights(nodeFiles, folder);
  try {
    return describe(file.name, file);
  } finally {
    await file.close();
  }
}
