import endOfTextWgsl from "../shaders/end-of-text.wgsl";
import { type Kernel, type Recorder, type Value } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

export type EndOfText = { readonly end: number; readonly pad: number; readonly limit: number };

export const endOfTextKernel: Kernel<EndOfText, "ids", "y" | "position"> = {
  name: "end-of-text",
  inputs: { ids: { rank: 2, dtypes: ["u32"] } },
  outputs: ["y", "position"],
  infer: ({ ids }) => ({ y: ids, position: { shape: [ids.shape[0]!], dtype: "u32" } }),
  plan({ inputs: { ids }, attributes }) {
    const [rows, length] = ids.shape as [number, number];
    return { dispatches: [pointwise({ name: "end-of-text", text: endOfTextWgsl }, { count: rows, length, ...attributes })] };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * Framed prompts, u32 [B, T], as a tokenizer with other padding frames them, and where their text ends.
 * `ids` u32 [B, T]: `pad` after the first `end`. `position` u32 [B]: flat position of the largest id below `limit`, the first of equal
 * ones, which is the first `<|endoftext|>` (transformers 4.33 modeling_clip.py:757; ids from `limit` on are learned words).
 * @throws ShapeError unless ids is u32 [B, T]
 */
export function endOfText(g: Recorder, ids: Value, attributes: EndOfText): { readonly ids: Value; readonly position: Value } {
  const { y, position } = g.apply(endOfTextKernel, { ids }, attributes);
  return { ids: y, position };
}
