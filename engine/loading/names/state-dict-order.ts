/**
 * Modules in the order in which diffusers and transformers make them, so that a list of tensors is that of a `state_dict()`. Those of
 * one parent only need to be in order among themselves.
 */
const MODULES = [
  // UNet2DConditionModel
  "conv_in", "time_embedding", "add_embedding", "down_blocks", "up_blocks", "mid_block", "conv_norm_out", "conv_out",
  "attentions", "resnets", "downsamplers", "upsamplers",
  "linear_1", "linear_2",
  // Transformer2DModel, BasicTransformerBlock, ResnetBlock2D
  "norm", "proj_in", "transformer_blocks", "proj_out",
  "norm1", "attn1", "conv1", "time_emb_proj", "norm2", "attn2", "conv2", "conv_shortcut", "norm3", "ff",
  "to_q", "to_k", "to_v", "to_out",
  // CLIPTextModel
  "embeddings", "encoder", "final_layer_norm", "token_embedding", "position_embedding",
  "self_attn", "layer_norm1", "mlp", "layer_norm2", "k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2",
  "text_projection",
  "down", "up", "weight", "bias",
];
const RANK = new Map(MODULES.map((name, i) => [name, i]));

/** Names of tensors in the order of a state dict; modules that are not known come last, by name. */
export function inStateDictOrder(names: Iterable<string>): string[] {
  return [...names]
    .map((name) => ({ name, path: name.split(".") }))
    .toSorted((a, b) => comparePaths(a.path, b.path))
    .map(({ name }) => name);
}

function comparePaths(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compareSegments(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareSegments(a: string, b: string): number {
  if (a === b) return 0;
  if (/^\d+$/.test(a) && /^\d+$/.test(b)) return Number(a) - Number(b);
  return (RANK.get(a) ?? Infinity) - (RANK.get(b) ?? Infinity) || (a < b ? -1 : 1);
}
