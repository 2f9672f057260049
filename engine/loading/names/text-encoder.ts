/**
 * Names of CLIP's text encoder in terms of transformers' CLIPTextModel: transformers' own with and without its `text_model.` prefix, and
 * those of OpenCLIP (Stable Diffusion 2), which are also openai/CLIP's.
 * Source: open_clip/transformer.py, transformers' convert_clip_original_pytorch_to_hf.py.
 */

/** One tensor in terms of another: the whole of it, or a third of its rows (a fused query, key and value projection). */
export interface TextTensor {
  readonly name: string;
  /** 0 query, 1 key, 2 value: which third of the rows. */
  readonly third?: 0 | 1 | 2;
  /** Rows and columns are exchanged. */
  readonly transposed?: boolean;
}

/** Names of transformers' CLIPTextModel, without any prefix. */
export const TRANSFORMERS_EMBEDDINGS = /^(text_model\.)?embeddings\.(token_embedding|position_embedding|position_ids)(\.|$)/;
export const TRANSFORMERS_LAYERS = /^(text_model\.)?(encoder\.layers\.\d+\.(self_attn|mlp|layer_norm\d)|final_layer_norm)(\.|$)/;

/** Names of OpenCLIP's text transformer, without any prefix. */
export const OPENCLIP_TEXT =
  /^(transformer\.resblocks\.\d+\.|ln_final\.|((token_embedding|text_projection)\.weight|positional_embedding|text_projection)$)/;
export const OPENCLIP_UNUSED = /^(logit_scale|attn_mask)$/;

const BLOCK: Readonly<Record<string, string>> = {
  "attn.out_proj": "self_attn.out_proj",
  ln_1: "layer_norm1",
  ln_2: "layer_norm2",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};
const THIRDS = ["q_proj", "k_proj", "v_proj"] as const;

/** transformers' name with the `text_model.` prefix; undefined for buffers that hold no weights, and for other names. */
export function transformersTextName(name: string): string | undefined {
  const known = TRANSFORMERS_EMBEDDINGS.test(name) || TRANSFORMERS_LAYERS.test(name);
  if (!known || name.endsWith("position_ids")) return undefined;
  return name.startsWith("text_model.") ? name : `text_model.${name}`;
}

/**
 * What an OpenCLIP tensor holds in transformers' names; empty for what the encoding does not need: the mask, blocks from `layers` on
 * (Stable Diffusion 2 takes the output of the last block but one), and the output projection, which only SDXL's second encoder uses
 * (`projects`); OpenCLIP multiplies by it from the right, so it is the transpose of transformers'.
 */
export function openClipTextTensors(name: string, layers: number, projects = false): readonly TextTensor[] {
  if (projects && name === "text_projection") return [{ name: "text_projection.weight", transposed: true }];
  const block = /^transformer\.resblocks\.(\d+)\.(.+)$/.exec(name);
  if (!block) {
    const norm = /^ln_final\.(\w+)$/.exec(name);
    if (norm) return [{ name: `text_model.final_layer_norm.${norm[1]}` }];
    if (name === "token_embedding.weight") return [{ name: "text_model.embeddings.token_embedding.weight" }];
    return name === "positional_embedding" ? [{ name: "text_model.embeddings.position_embedding.weight" }] : [];
  }
  const [, index, rest] = block as unknown as [string, string, string];
  if (Number(index) >= layers) return [];
  const path = `text_model.encoder.layers.${index}`;
  const fused = /^attn\.in_proj_(weight|bias)$/.exec(rest);
  if (fused) return THIRDS.map((part, third) => ({ name: `${path}.self_attn.${part}.${fused[1]}`, third: third as 0 | 1 | 2 }));
  const [, inner, leaf] = /^(.+)\.(\w+)$/.exec(rest) ?? [];
  const own = inner === undefined ? undefined : BLOCK[inner];
  return own === undefined ? [] : [{ name: `${path}.${own}.${leaf}` }];
}

/**
 * Layers in use of an OpenCLIP text encoder with `blocks` blocks: all but the last, unless that has been cut off already
 * (ViT-H/14, of width 1024, has 24).
 */
export function openClipLayers(blocks: number, width: number): number {
  return width === 1024 && blocks === 23 ? 23 : blocks - 1;
}

/** Number of blocks that OpenCLIP names show. */
export function openClipBlocks(names: Iterable<string>): number {
  let blocks = 0;
  for (const name of names) {
    const found = /^transformer\.resblocks\.(\d+)\./.exec(name);
    if (found) blocks = Math.max(blocks, Number(found[1]) + 1);
  }
  return blocks;
}
