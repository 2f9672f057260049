/**
 * A component's tensors under the names that diffusers and transformers give them, whatever the file calls them. Nothing is copied: a
 * tensor is read when asked for.
 */
import { FormatError, quote } from "../../formats/errors.ts";
import { type TensorEntry, type TensorFile, tensorFile } from "../../formats/tensor-file.ts";
import { componentName, type Group, styleName } from "./groups.ts";
import { isText } from "./locate.ts";
import { openClipBlocks, openClipLayers, openClipTextTensors, transformersTextName, type TextTensor } from "./text-encoder.ts";
import { unetLayout, unetName } from "./unet.ts";
import { vaeLevels, vaeName } from "./vae.ts";

/** What the maps of names depend on, where a file with only some of the tensors cannot show it. */
export interface Layout {
  /** Resnet blocks of each UNet level. */
  readonly layersPerBlock?: readonly number[] | undefined;
  /** Levels of the VAE. */
  readonly vaeLevels?: number | undefined;
  /** Layers of the text encoder. */
  readonly textLayers?: number | undefined;
}

/** The layout that a group's own names show; given values go first. */
export function groupLayout(group: Group, given: Layout = {}): Layout {
  const names = group.tensors.keys();
  switch (group.component) {
    case "unet":
      return { layersPerBlock: given.layersPerBlock ?? (group.style === "CompVis" ? unetLayout(names)?.layersPerBlock : undefined) };
    case "vae":
      return { vaeLevels: given.vaeLevels ?? vaeLevels(names) };
    case "text_encoder_2":
      return { textLayers: given.textLayers ?? (group.style === "OpenCLIP" ? openClipBlocks(names) : undefined) };
    case "text_encoder": {
      if (group.style !== "OpenCLIP" || given.textLayers !== undefined) return { textLayers: given.textLayers };
      const blocks = openClipBlocks(names);
      return { textLayers: openClipLayers(blocks, group.tensors.get("ln_final.weight")?.shape[0] ?? 0) };
    }
  }
}

/**
 * The group as a file of its own in diffusers' names. Buffers and what the model does not use (an OpenCLIP encoder's last block) are left
 * out.
 * @param given what is known of the model; needed only for partial files in the original names
 * @throws FormatError naming the tensor if a name fits the convention but not the layout, or two tensors fall on one name.
 */
export function componentFile(file: TensorFile, group: Group, given: Layout = {}): TensorFile {
  const layout = groupLayout(group, given);
  const sources = new Map<string, Omit<TextTensor, "name"> & { readonly entry: TensorEntry }>();
  const entries = new Map<string, TensorEntry>();
  for (const [rest, entry] of group.tensors) {
    for (const { name, ...how } of targets(file, group, layout, rest, entry)) {
      const other = sources.get(name);
      if (other) throw new FormatError(file.name, `tensors ${quote(other.entry.name)} and ${quote(entry.name)} are both ${quote(name)}`);
      sources.set(name, { entry, ...how });
      const shape = how.transposed ? entry.shape.toReversed() : plainShape(name, entry.shape);
      entries.set(name, how.third === undefined ? { ...entry, name, stored: entry.name, shape } : thirdOf(file, entry, name));
    }
  }
  return tensorFile({
    name: file.name, metadata: file.metadata, entries,
    async readBytes({ name, byteLength }) {
      const { entry, third, transposed } = sources.get(name)!;
      const bytes = await file.readBytes(entry.name);
      if (transposed) return transposedBytes(bytes, entry.shape);
      return third === undefined ? bytes : bytes.slice(third * byteLength, (third + 1) * byteLength);
    },
    close: () => file.close(),
  });
}

function targets(file: TensorFile, { component, style }: Group, layout: Layout, rest: string, entry: TensorEntry): readonly TextTensor[] {
  if (isText(component)) {
    const projects = component === "text_encoder_2";
    if (style === "OpenCLIP") return openClipTextTensors(rest, layout.textLayers!, projects);
    const name = projects && rest === "text_projection.weight" ? rest : transformersTextName(rest);
    return name === undefined ? [] : [{ name }];
  }
  if (style === "diffusers" && component === "unet") return [{ name: rest }];
  if (component === "unet" && layout.layersPerBlock === undefined) {
    throw new FormatError(
      file.name,
      `holds only some UNet tensors in ${styleName(style)}, which does not show how its blocks are numbered; lay it over a whole model`,
    );
  }
  const name =
    component === "unet" ? unetName(rest, { layersPerBlock: layout.layersPerBlock! }) : vaeName(rest, layout.vaeLevels ?? Infinity);
  if (name !== undefined) return [{ name }];
  const shape =
    component === "unet"
      ? `${layout.layersPerBlock!.length} levels of ${layout.layersPerBlock!.join(", ")} layers`
      : `${layout.vaeLevels} levels`;
  throw new FormatError(
    file.name,
    `tensor ${quote(entry.name)} has no place in a ${componentName(component)} of ${shape}; is it made for another model?`,
  );
}

/** The VAE's attention layers without the 1x1 kernel that the original code gives them. */
function plainShape(name: string, shape: readonly number[]): readonly number[] {
  return shape.length > 2 &&
    /\.mid_block\.attentions\.0\.to_(q|k|v|out\.0)\.weight$/.test(name) &&
    shape.slice(2).every((size) => size === 1)
    ? shape.slice(0, 2)
    : shape;
}

/** A matrix of elements of any width with rows and columns exchanged. */
function transposedBytes(bytes: Uint8Array<ArrayBuffer>, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const [rows, columns] = shape as [number, number];
  const width = bytes.length / (rows * columns);
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const from = (row * columns + column) * width;
      out.set(bytes.subarray(from, from + width), (column * rows + row) * width);
    }
  }
  return out;
}

function thirdOf(file: TensorFile, entry: TensorEntry, name: string): TensorEntry {
  const rows = entry.shape[0];
  if (rows === undefined || rows % 3 !== 0) {
    throw new FormatError(
      file.name,
      `tensor ${quote(entry.name)} should hold query, key and value, but its shape [${entry.shape.join(", ")}] is not three times anything`,
    );
  }
  return { ...entry, name, stored: entry.name, shape: [rows / 3, ...entry.shape.slice(1)], byteLength: entry.byteLength / 3 };
}
