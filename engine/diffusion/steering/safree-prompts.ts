import type { StableDiffusion } from "../stable-diffusion.ts";

/** SAFREE masks a token by this id, which in CLIP's vocabulary is "!". */
const MASK_ID = 0;

/** The framed prompt with each of its tokens masked in turn. @param tokens without bos and eos */
export function maskedPrompts(ids: ArrayLike<number>, tokens: number): Uint32Array[] {
  return Array.from({ length: tokens }, (_, i) => {
    const masked = Uint32Array.from(ids);
    masked[i + 1] = MASK_ID;
    return masked;
  });
}

/** The encoder's row at the first eos of each framed prompt, [D] each. */
export async function pooledRows(model: StableDiffusion, prompts: readonly ArrayLike<number>[], eosId: number): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for (const ids of prompts) {
    const { data, shape } = await model.encodeText(ids);
    const width = shape[2]!;
    const at = Array.from(ids).indexOf(eosId);
    rows.push(data.slice(at * width, (at + 1) * width));
  }
  return rows;
}
