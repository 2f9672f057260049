import { type ByteSource, readAll } from "../formats/byte-source.ts";
import { type RgbImage, centerCrop, imagesToTensor } from "../formats/picture/image.ts";
import { resizeShortestEdge } from "../formats/picture/resize.ts";
import { decodePicture } from "../platform/picture/decode-picture.ts";
import type { NDArray } from "../nn/array.ts";
import { type Mask, latentMask } from "../diffusion/steering/inpaint.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { InputError } from "../runtime/errors.ts";

export interface Target {
  readonly file: string;
  readonly image: RgbImage;
  /** [1, 3, H, W] in [-1, 1]. */
  readonly array: NDArray;
  /** What was done to the file's picture to make it fit; empty if nothing. */
  readonly fitted: string;
}

/**
 * A picture made to fit a model: the shortest edge resized to the model's size with Pillow's bicubic filter, then the middle cut out.
 * Source: Diffusion-MU-Attack, src/tasks/utils/datasets.py `get_transform`.
 */
export function fitTarget({ file, image }: { readonly file: string; readonly image: RgbImage }, model: StableDiffusion): Target {
  const { factor } = model.parts.vae.config;
  const [height, width] = model.defaultLatentSize.map((n) => n * factor) as [number, number];
  if (image.width === width && image.height === height) return { file, image, array: imagesToTensor([image]), fitted: "" };
  const fitted = centerCrop(resizeShortestEdge(image, Math.max(width, height), "bicubic"), width, height);
  return {
    file,
    image: fitted,
    array: imagesToTensor([fitted]),
    fitted: `from ${image.width}x${image.height} to ${width}x${height} pixels (bicubic, centre crop)`,
  };
}

/** A picture file made to fit a model. @throws FormatError if it is damaged, or no PNG, JPEG or WebP */
export async function loadTarget(source: ByteSource, model: StableDiffusion): Promise<Target> {
  return fitTarget({ file: source.name, image: await decodePicture(source.name, await readAll(source)) }, model);
}

/** A mask of the target's size; its first channel counts. @throws InputError for another size or no area */
export function maskOf(
  { file, image }: Pick<Target, "file" | "image">,
  target: Target | undefined,
  model: StableDiffusion,
): Mask {
  const { width, height } = target?.image ?? image;
  if (image.width !== width || image.height !== height) {
    throw new InputError(
      `${file}: the mask is ${image.width}x${image.height} pixels, the target ${width}x${height}: give one of that size`,
    );
  }
  const mask = { width, height, data: Uint8Array.from({ length: width * height }, (_, i) => image.data[3 * i]!) };
  latentMask(mask, model.parts.vae.config.factor); // refuses one without area before anything is drawn
  return mask;
}
