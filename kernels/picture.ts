import pictureWgsl from "../shaders/lib/picture.wgsl";
import { type Defines, type Dispatch, type ShaderSource, type TensorType, elementCount } from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

/** A dispatch over the Packs of the picture `of` [batch, height, width, C] of a shader with `shaders/lib/picture.wgsl`. */
export function pictureDispatch(
  shader: ShaderSource,
  { shape }: TensorType,
  params: Readonly<Record<string, number>>,
  defines: Defines = {},
): Dispatch {
  const channels = shape.at(-1)!;
  const pack = packing(channels);
  const counts = { count: elementCount(shape) / pack.lanes, channels: channels / pack.lanes };
  return pointwise(shader, { ...counts, ...params }, { defines: { PICTURE: pictureWgsl, ...pack.defines, ...defines } });
}
