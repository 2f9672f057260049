import { type RgbImage, centerCrop, normalizeImage } from "../formats/picture/image.ts";
import { PIL_FILTERS, type ResizeFilter, resize, resizeShortestEdge } from "../formats/picture/resize.ts";
import { InputError } from "../runtime/errors.ts";
import type { NDArray } from "../nn/array.ts";
import { Config } from "../nn/config.ts";

/** Turns a picture of any size into what one classifier takes. */
export type Preprocessor = (image: RgbImage) => NDArray;

/**
 * From a Hugging Face preprocessor_config.json: resize (to a size, to the shortest edge, or ConvNeXT's crop_pct), centre crop, rescale,
 * normalise.
 * Source: transformers' ViTImageProcessor, ConvNextImageProcessor and CLIPImageProcessor.
 * @throws InputError naming the field.
 */
export function preprocessor(config: Config): Preprocessor {
  const channels = (name: string, fallback: number): number[] => {
    const value = config.get(name) ?? [fallback, fallback, fallback];
    if (!Array.isArray(value) || value.length !== 3 || !value.every((v) => typeof v === "number")) {
      throw new InputError(`${config.file}: "${name}" must be three numbers`);
    }
    return value as number[];
  };
  const normalises = config.flag("do_normalize", true);
  const mean = normalises ? channels("image_mean", 0.5) : [0, 0, 0];
  const std = normalises ? channels("image_std", 0.5) : [1, 1, 1];
  if (std.some((s) => s === 0)) throw new InputError(`${config.file}: "image_std" holds a zero`);
  const rescale = config.flag("do_rescale", true) ? config.number("rescale_factor", 1 / 255) : 1;
  const filter = PIL_FILTERS[config.number("resample", 2)];
  if (!filter) throw new InputError(`${config.file}: "resample" must be one of Pillow's filters, 0 to 5`);
  const resized = resizer(config, filter);
  const cropped = cropper(config);
  return (image) => normalizeImage(cropped(resized(image)), rescale, mean, std);
}

/**
 * CLIP's files of before 2023 give `size` as one number, which is the shortest edge's (`default_to_square=False`), not the square's as
 * elsewhere.
 */
function isClip(config: Config): boolean {
  return [config.get("image_processor_type"), config.get("feature_extractor_type")].some(
    (type) => typeof type === "string" && type.startsWith("CLIP"),
  );
}

type Step = (image: RgbImage) => RgbImage;

function sizeOf(config: Config, name: string): { shortestEdge: number } | { height: number; width: number } | undefined {
  const value = config.get(name);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return name === "size" && isClip(config) ? { shortestEdge: value } : { height: value, width: value };
  const fields = Config.of(`${config.file}: "${name}"`, value);
  return fields.get("shortest_edge") !== undefined
    ? { shortestEdge: fields.size("shortest_edge") }
    : { height: fields.size("height"), width: fields.size("width") };
}

function resizer(config: Config, filter: ResizeFilter): Step {
  const size = sizeOf(config, "size");
  if (!config.flag("do_resize", true) || !size) return (image) => image;
  const cropFraction = config.get("crop_pct") ?? undefined;
  if (cropFraction !== undefined) {
    // ConvNeXT: below 384 the shortest edge becomes size / crop_pct and the middle is cut out; from 384 on the picture is squeezed.
    const edge = "shortestEdge" in size ? size.shortestEdge : size.height;
    if (edge >= 384) return (image) => resize(image, edge, edge, filter);
    const larger = Math.trunc(edge / config.number("crop_pct"));
    return (image) => centerCrop(resizeShortestEdge(image, larger, filter), edge, edge, "floor");
  }
  if ("shortestEdge" in size) return (image) => resizeShortestEdge(image, size.shortestEdge, filter);
  return (image) => resize(image, size.width, size.height, filter);
}

function cropper(config: Config): Step {
  if (!config.flag("do_center_crop", false)) return (image) => image;
  const size = sizeOf(config, "crop_size");
  if (!size || "shortestEdge" in size) throw new InputError(`${config.file}: "crop_size" must give height and width`);
  return (image) => centerCrop(image, size.width, size.height, "floor");
}
