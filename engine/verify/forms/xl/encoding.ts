import { FormatError } from "../../../formats/errors.ts";
import type { NDArray } from "../../../nn/array.ts";
import { TwoEncoders } from "../../../diffusion/model/two-encoders.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";

/** A model's two text encoders. @throws Error for a model of another family */
export function encodersOf(model: StableDiffusion): TwoEncoders {
  const { text } = model;
  if (!(text instanceof TwoEncoders)) throw new Error("this reference is of Stable Diffusion XL: give such a model");
  return text;
}

/** The parts of an encoding as the references keep them: the tokens' states [B, T, D] and text_embeds [B, P]. */
export interface EncodingParts {
  readonly context: NDArray;
  readonly pooled: NDArray;
}

/** States and pooled text as the one encoding [B, T + 1, D] that the engine passes around. */
export function joinEncoding({ context, pooled }: EncodingParts): NDArray {
  const [batch, tokens, width] = context.shape as [number, number, number];
  const pooledWidth = pooled.shape.at(-1)!;
  const data = new Float32Array(batch * (tokens + 1) * width);
  for (let b = 0; b < batch; b++) {
    data.set(context.data.subarray(b * tokens * width, (b + 1) * tokens * width), b * (tokens + 1) * width);
    data.set(pooled.data.subarray(b * pooledWidth, (b + 1) * pooledWidth), (b * (tokens + 1) + tokens) * width);
  }
  return { data, shape: [batch, tokens + 1, width] };
}

/** The same taken apart. */
export function splitEncoding({ data, shape }: NDArray, pooledWidth: number): EncodingParts {
  const [batch, rows, width] = shape as [number, number, number];
  const tokens = rows - 1;
  const context = new Float32Array(batch * tokens * width);
  const pooled = new Float32Array(batch * pooledWidth);
  for (let b = 0; b < batch; b++) {
    const at = b * rows * width;
    context.set(data.subarray(at, at + tokens * width), b * tokens * width);
    pooled.set(data.subarray(at + tokens * width, at + tokens * width + pooledWidth), b * pooledWidth);
  }
  return { context: { data: context, shape: [batch, tokens, width] }, pooled: { data: pooled, shape: [batch, pooledWidth] } };
}

/** The size conditions of each row of time ids [B, 6]. @throws FormatError naming the file */
export function sizesOf(file: string, { data, shape }: NDArray): SizeConditions[] {
  if (shape.at(-1) !== 6) throw new FormatError(file, `its time ids have shape [${shape.join(", ")}], not [batch, 6]`);
  return Array.from({ length: data.length / 6 }, (_, b) => {
    const [height, width, top, left, targetHeight, targetWidth] = data.subarray(b * 6, b * 6 + 6) as unknown as number[];
    return { original: [height!, width!], crop: [top!, left!], target: [targetHeight!, targetWidth!] };
  });
}
