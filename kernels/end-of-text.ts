import endOfTextWgsl from "../shaders/end-of-text.wgsl";
import { type Kernel, type Recorder, type Value, need } from "./kernel.ts";
import { perElement } from "./per-element.ts";

export type EndOfText = { readonly end: number; readonly pad: number; readonly limit: number };

export const endOfTextKernel: Kernel<EndOfText> = {
  name: "end-of-text",
  infer(inputs) {
    const ids = need("end-of-text", inputs, 0, "ids", 2, ["u32"]);
    return [ids, { shape: [ids.shape[0]!], dtype: "u32" }];
  },
  plan({ inputs, attributes }) {
    const [rows, length] = inputs[0]!.shape as [number, number];
    const bindings = { ids: { input: 0 }, y: { output: 0 }, position: { output: 1 } };
    const params = { rows, length, ...attributes };
    return { dispatches: [perElement({ name: "end-of-text", text: endOfTextWgsl }, rows, {}, bindings, params)] };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * Framed prompts, u32 [B, T], as a tokenizer with other padding frames them, and where their text ends.
 * `ids` u32 [B, T]: `pad` after the first `end`. `position` u32 [B]: flat position of the largest id below `limit`, the first of equal ones,
 * which is the first `<|endoftext|>` (transformers 4.33 modeling_clip.py:757; ids from `limit` on are learned words).
 * @throws ShapeError unless ids is u32 [B, T]
 */
export function endOfText(g: Recorder, ids: Value, attributes: EndOfText): { readonly ids: Value; readonly position: Value } {
  const [padded, position] = g.apply(endOfTextKernel, [ids], attributes) as [Value, Value];
  return { ids: padded, position };
}
