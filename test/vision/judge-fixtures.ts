import type { RgbImage } from "../../engine/formats/picture/image.ts";
import type { Tensor } from "../support/fixtures.ts";

/** Path of a model folder or file of test/fixtures/judges. */
export function judgeFolder(name: string): string {
  return `test/fixtures/judges/${name}`;
}

/** A picture stored as bytes [height, width, 3]. */
export function goldenImage(golden: ReadonlyMap<string, Tensor>, name: string): RgbImage {
  const tensor = golden.get(name);
  if (!tensor || !(tensor.data instanceof Uint8Array)) throw new Error(`fixture: no picture "${name}"`);
  return { data: new Uint8Array(tensor.data), height: tensor.shape[0]!, width: tensor.shape[1]! };
}

/** A float64, float32 or integer tensor's numbers. */
export function goldenNumbers(golden: ReadonlyMap<string, Tensor>, name: string): Float64Array {
  const tensor = golden.get(name);
  if (!tensor) throw new Error(`fixture: no tensor "${name}"`);
  return Float64Array.from(tensor.data as Float64Array, Number);
}
