/**
 * VAE names of the original Stable Diffusion code in terms of diffusers' AutoencoderKL, and those of diffusers before 0.15.
 * Source: ldm/modules/diffusionmodules/model.py; diffusers' convert_from_ckpt.py.
 *
 * The decoder's levels are numbered from the outermost in LDM (`up.3` comes first in the computation) and in the order of the computation
 * in diffusers. The middle attention is made of 1x1 convolutions in LDM and of linear layers in diffusers: the same numbers.
 */

const ATTENTION: Readonly<Record<string, string>> = {
  norm: "group_norm", q: "to_q", k: "to_k", v: "to_v", proj_out: "to_out.0",
  // diffusers before 0.15
  query: "to_q", key: "to_k", value: "to_v", proj_attn: "to_out.0",
};

const MIDDLE: Readonly<Record<string, string>> = { block_1: "resnets.0", block_2: "resnets.1", attn_1: "attentions.0" };

/** Names that only the LDM VAE has, without any prefix; `encoder.conv_in` and the like are the same in both. */
export const LDM_VAE = /^(encoder|decoder)\.((down|up)\.\d+\.|mid\.|norm_out\.)/;

/** Names of diffusers' AutoencoderKL, without any prefix. */
export const DIFFUSERS_VAE =
  /^((encoder|decoder)\.(conv_in|conv_out|conv_norm_out|(down_blocks|up_blocks)\.\d+\.|mid_block\.)|quant_conv\.|post_quant_conv\.)/;

/**
 * diffusers' name of a VAE tensor in either convention, or undefined if it is none.
 * @param levels of the VAE: how many times it halves the sides, plus one
 */
export function vaeName(name: string, levels: number): string | undefined {
  const old = /^(.*\.mid_block\.attentions\.0)\.(query|key|value|proj_attn)\.(\w+)$/.exec(name);
  if (old) return `${old[1]}.${ATTENTION[old[2]!]}.${old[3]}`;
  if (DIFFUSERS_VAE.test(name)) return name;
  const [, half, rest] = /^(encoder|decoder)\.(.+)$/.exec(name) ?? [];
  if (half === undefined || rest === undefined) return undefined;
  const norm = /^norm_out\.(\w+)$/.exec(rest);
  if (norm) return `${half}.conv_norm_out.${norm[1]}`;
  const middle = /^mid\.(block_1|block_2|attn_1)\.(.+)$/.exec(rest);
  if (middle) {
    const [, part, inner] = middle as unknown as [string, string, string];
    const own = part === "attn_1" ? attentionName(inner) : inner;
    return own === undefined ? undefined : `${half}.mid_block.${MIDDLE[part]}.${own}`;
  }
  const level = /^(down|up)\.(\d+)\.(?:block\.(\d+)\.(.+)|(downsample|upsample)\.(.+))$/.exec(rest);
  if (!level || (level[1] === "down") !== (half === "encoder") || Number(level[2]) >= levels) return undefined;
  const block = half === "encoder" ? `encoder.down_blocks.${level[2]}` : `decoder.up_blocks.${levels - 1 - Number(level[2])}`;
  if (level[5] !== undefined) return `${block}.${level[5]}rs.0.${level[6]}`;
  return `${block}.resnets.${level[3]}.${level[4]!.replace(/^nin_shortcut\./, "conv_shortcut.")}`;
}

function attentionName(inner: string): string | undefined {
  const [, layer, leaf] = /^(\w+)\.(\w+)$/.exec(inner) ?? [];
  const own = layer === undefined ? undefined : ATTENTION[layer];
  return own === undefined ? undefined : `${own}.${leaf}`;
}

/** Levels that a VAE's names (without prefix) show, in either convention; undefined if they show none. */
export function vaeLevels(names: Iterable<string>): number | undefined {
  let levels = 0;
  for (const name of names) {
    const found = /^(?:encoder\.down|decoder\.up|encoder\.down_blocks|decoder\.up_blocks)\.(\d+)\./.exec(name);
    if (found) levels = Math.max(levels, Number(found[1]) + 1);
  }
  return levels === 0 ? undefined : levels;
}
