import { type DType, PANEL, type Shape, type TensorType, elementCount } from "../../kernels/kernel.ts";
import { float32ToFloat16 } from "../formats/half.ts";

/**
 * How a weight is laid out on the device:
 * "plain" as stored, "linear" [out, in] transposed to [in, out], "conv" OIHW turned to [kernelHeight, kernelWidth, in, out].
 */
export type WeightLayout = "plain" | "linear" | "conv";

/** How big matrices are stored on the device. */
export type WeightPrecision = "f32" | "f16";

/** A weight's numbers, or the bit patterns of its halves. */
export type WeightNumbers = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** As many numbers of the same kind. */
function alike<T extends WeightNumbers>(data: T, length = data.length): T {
  return (data instanceof Uint16Array ? new Uint16Array(length) : new Float32Array(length)) as T;
}

/** The rows of a matrix of as many `rows`, a multiple of 4: two of its first half and two of its second in turn; or back from there. */
export function inFours<T extends WeightNumbers>(data: T, rows: number, back = false): T {
  const width = data.length / rows;
  const result = alike(data);
  for (let i = 0; i < rows; i++) {
    const plain = (i & 2) / 2 * (rows / 2) + 2 * (i >> 2) + (i & 1);
    const [from, to] = back ? [i, plain] : [plain, i];
    result.set(data.subarray(from * width, (from + 1) * width), to * width);
  }
  return result;
}

/** [taps, in, out] as the checkpoint stores it: [out, in, taps]. @param stored that shape */
export function checkpointOrder(data: Float32Array<ArrayBuffer>, stored: Shape): Float32Array<ArrayBuffer> {
  const [out, inner] = stored as [number, number];
  const taps = elementCount(stored.slice(2));
  const result = new Float32Array(data.length);
  for (let tap = 0; tap < taps; tap++) {
    for (let i = 0; i < inner; i++) for (let o = 0; o < out; o++) result[(o * inner + i) * taps + tap] = data[(tap * inner + i) * out + o]!;
  }
  return result;
}

/** How a weight of this shape [.., in, out] is stored on the device. */
export function weightType(shape: Shape, layout: WeightLayout, precision: WeightPrecision): TensorType {
  // Halves pay only for the matrices of products; odd lengths keep the scalar float path simple, and tables are read by other ops.
  const half = precision === "f16" && layout !== "plain" && shape.at(-1)! % 4 === 0 && shape.at(-2)! % 4 === 0;
  const panels = layout !== "plain" && shape.at(-1)! % PANEL === 0 && shape.at(-2)! % 4 === 0;
  return { shape, dtype: (half ? "f16" : "f32") satisfies DType, layout: panels ? "panels" : "rows" };
}

/**
 * A stored weight in the order that matmul and conv2d read: [taps, in, out], with `panels` [taps, out / PANEL, in, PANEL].
 * @param stored [out, in] or [out, in, kernelHeight, kernelWidth]
 */
export function relayout<T extends WeightNumbers>(data: T, stored: Shape, layout: WeightLayout, panels = false): T {
  if (layout === "plain") return data;
  const [out, inner] = stored as [number, number];
  const taps = layout === "conv" ? elementCount(stored.slice(2)) : 1;
  const width = panels ? PANEL : out;
  const result = alike(data);
  // A few outputs at a time, so that what is read and what is written stay in the cache: the loading of a large model is mostly this.
  for (let first = 0; first < out; first += PANEL) {
    const end = Math.min(out, first + PANEL);
    for (let i = 0; i < inner; i++) {
      for (let o = first; o < end; o++) {
        const column = o % width;
        const source = (o * inner + i) * taps;
        const target = (o - column) * inner + i * width + column; // o - column: start of its panel within a tap
        for (let tap = 0; tap < taps; tap++) result[tap * inner * out + target] = data[source + tap]!;
      }
    }
  }
  return result;
}

/** A weight [.., in, out] in panels row by row. @param shape of the leaf */
export function rowByRow(data: Float32Array<ArrayBuffer>, shape: Shape): Float32Array<ArrayBuffer> {
  const [inner, out] = shape.slice(-2) as [number, number];
  const result = new Float32Array(data.length);
  for (let from = 0; from < data.length; from += PANEL) {
    const row = from / PANEL;
    const [tap, panel, i] = [Math.floor(from / (inner * out)), Math.floor(row / inner) % (out / PANEL), row % inner];
    result.set(data.subarray(from, from + PANEL), (tap * inner + i) * out + panel * PANEL);
  }
  return result;
}

/** Pairs of floats rounded to halves in one word, as `unpack2x16float` reads them. */
export function packHalves(data: Float32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  return halfWords(float32ToFloat16(data));
}

/** Bit patterns of halves two to a word, the last alone where their number is odd. */
export function halfWords(halves: Uint16Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  if (halves.length % 2 === 0 && halves.byteOffset % 4 === 0) return new Uint32Array(halves.buffer, halves.byteOffset, halves.length / 2);
  const words = new Uint32Array(Math.ceil(halves.length / 2));
  new Uint16Array(words.buffer).set(halves);
  return words;
}
