import { FormatError } from "../../../formats/errors.ts";
import type { NDArray } from "../../../nn/array.ts";
import { TwoEncoders } from "../../../diffusion/model/two-encoders.ts";
import type { SizeConditions } from "../../../diffusion/model/sizes.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Golden } from "../../golden.ts";

/** A model's two text encoders. @throws Error for a model of another family */
export function encodersOf(model: StableDiffusion): TwoEncoders {
  const { text } = model;
  if (!(text instanceof TwoEncoders)) throw new Error("this reference is of Stable Diffusion XL: give such a model");
  return text;
}

/** The parts of an encoding as the references keep them: the tokens' states [B, T, D], and of SDXL text_embeds [B, P]. */
export interface EncodingParts {
  readonly ctx: NDArray;
  readonly text_embeds?: NDArray;
}

/** States and pooled text as the one encoding [B, T + 1, D] that the engine passes around; without the latter the states. */
export function joinEncoding({ ctx, text_embeds: pooled }: EncodingParts): NDArray {
  if (!pooled) return ctx;
  const [batch, tokens, width] = ctx.shape as [number, number, number];
  const pooledWidth = pooled.shape.at(-1)!;
  const data = new Float32Array(batch * (tokens + 1) * width);
  for (let b = 0; b < batch; b++) {
    data.set(ctx.data.subarray(b * tokens * width, (b + 1) * tokens * width), b * (tokens + 1) * width);
    data.set(pooled.data.subarray(b * pooledWidth, (b + 1) * pooledWidth), (b * (tokens + 1) + tokens) * width);
  }
  return { data, shape: [batch, tokens + 1, width] };
}

/** The same taken apart. */
export function splitEncoding({ text }: StableDiffusion, encoding: NDArray): EncodingParts {
  if (!(text instanceof TwoEncoders)) return { ctx: encoding };
  const { data, shape } = encoding;
  const pooledWidth = text.second.projectionWidth;
  const [batch, rows, width] = shape as [number, number, number];
  const tokens = rows - 1;
  const ctx = new Float32Array(batch * tokens * width);
  const pooled = new Float32Array(batch * pooledWidth);
  for (let b = 0; b < batch; b++) {
    const at = b * rows * width;
    ctx.set(data.subarray(at, at + tokens * width), b * tokens * width);
    pooled.set(data.subarray(at + tokens * width, at + tokens * width + pooledWidth), b * pooledWidth);
  }
  return { ctx: { data: ctx, shape: [batch, tokens, width] }, text_embeds: { data: pooled, shape: [batch, pooledWidth] } };
}

/** The size conditions of each row of a reference's time ids [B, 6]; none of a model that takes none. @throws FormatError */
export async function sizesIn(golden: Golden): Promise<SizeConditions[] | undefined> {
  if (!golden.has("time_ids")) return undefined;
  const { data, shape } = await golden.array("time_ids");
  if (shape.at(-1) !== 6) throw new FormatError(golden.source, `its time ids have shape [${shape.join(", ")}], not [batch, 6]`);
  return Array.from({ length: data.length / 6 }, (_, b) => {
    const [height, width, top, left, targetHeight, targetWidth] = data.subarray(b * 6, b * 6 + 6) as unknown as number[];
    return { original: [height!, width!], crop: [top!, left!], target: [targetHeight!, targetWidth!] };
  });
}
