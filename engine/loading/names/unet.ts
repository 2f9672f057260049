/**
 * UNet names of the original Stable Diffusion code (CompVis, "LDM") in terms of diffusers'.
 * Source: ldm/modules/diffusionmodules/openaimodel.py numbers the blocks in the order they are made; diffusers' convert_from_ckpt.py undoes
 * it.
 *
 * LDM counts down and up blocks through all levels: with n layers at a level, `input_blocks` holds conv_in, then for each level its n
 * layers and, but for the last level, a downsampling; `output_blocks` holds for each level, deepest first, n + 1 layers, the last of which
 * also holds the upsampling. The second number is the module inside the block: 0 the resnet block, then its transformer, then the
 * upsampling.
 */

/** What the numbering depends on. */
export interface UNetLayout {
  /** Resnet blocks of each down level, outermost first; up levels have one more. */
  readonly layersPerBlock: readonly number[];
}

/** Modules of a resnet block, as the original code and as diffusers call them. */
export const LDM_RESNET: Readonly<Record<string, string>> = {
  "in_layers.0": "norm1",
  "in_layers.2": "conv1",
  "emb_layers.1": "time_emb_proj",
  "out_layers.0": "norm2",
  "out_layers.3": "conv2",
  skip_connection: "conv_shortcut",
};

/** The UNet's single modules likewise. */
export const LDM_SINGLE: Readonly<Record<string, string>> = {
  "input_blocks.0.0": "conv_in",
  "time_embed.0": "time_embedding.linear_1",
  "time_embed.2": "time_embedding.linear_2",
  "label_emb.0.0": "add_embedding.linear_1",
  "label_emb.0.2": "add_embedding.linear_2",
  "out.0": "conv_norm_out",
  "out.2": "conv_out",
};

/** Names of the LDM UNet, without any prefix. */
export const LDM_UNET = /^(input_blocks\.\d+\.\d+|middle_block\.\d+|output_blocks\.\d+\.\d+|time_embed\.\d+|out\.\d+|label_emb\.\d+)\./;

/** Names of diffusers' UNet2DConditionModel, without any prefix. */
export const DIFFUSERS_UNET_BLOCKS =
  /^((down|up)_blocks\.\d+\.(resnets|attentions|downsamplers|upsamplers)\.\d+|mid_block\.(resnets|attentions)\.\d+)\./;
export const DIFFUSERS_UNET_ENDS = /^(time_embedding\.(linear_\d|cond_proj)|conv_(in|norm_out|out)|(add|class)_embedding)\./;

/** diffusers' name of an LDM UNet tensor such as `input_blocks.1.1.proj_in.weight`, or undefined if the layout has no such block. */
export function unetName(name: string, layout: UNetLayout): string | undefined {
  const block = /^(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)$/.exec(name);
  const middle = /^middle_block\.(\d+)\.(.+)$/.exec(name);
  const single = Object.keys(LDM_SINGLE).find((key) => name.startsWith(`${key}.`));
  if (single !== undefined) return LDM_SINGLE[single] + name.slice(single.length);
  if (middle) {
    const at = Number(middle[1]);
    if (at === 1) return `mid_block.attentions.0.${middle[2]}`;
    return at > 2 ? undefined : resnetName(`mid_block.resnets.${at / 2}`, middle[2]!);
  }
  if (!block) return undefined;
  const [, side, number, moduleNumber, rest] = block as unknown as [string, string, string, string, string];
  return side === "input_blocks"
    ? inputName(Number(number) - 1, Number(moduleNumber), rest, layout)
    : outputName(Number(number), Number(moduleNumber), rest, layout);
}

function inputName(index: number, module: number, rest: string, { layersPerBlock }: UNetLayout): string | undefined {
  let i = index;
  for (const [level, layers] of layersPerBlock.entries()) {
    if (i < layers) return layerName(`down_blocks.${level}`, i, module, rest);
    if (i === layers && level < layersPerBlock.length - 1) {
      return module === 0 && rest.startsWith("op.") ? `down_blocks.${level}.downsamplers.0.conv.${rest.slice(3)}` : undefined;
    }
    i -= layers + 1;
  }
  return undefined;
}

function outputName(index: number, module: number, rest: string, { layersPerBlock }: UNetLayout): string | undefined {
  let i = index;
  for (const [block, layers] of layersPerBlock.toReversed().entries()) {
    if (i > layers) {
      i -= layers + 1;
      continue;
    }
    // Without a transformer the upsampling is module 1.
    if (rest.startsWith("conv.")) {
      return i === layers && module > 0 && block < layersPerBlock.length - 1 ? `up_blocks.${block}.upsamplers.0.${rest}` : undefined;
    }
    return layerName(`up_blocks.${block}`, i, module, rest);
  }
  return undefined;
}

function layerName(block: string, layer: number, module: number, rest: string): string | undefined {
  if (module === 0) return resnetName(`${block}.resnets.${layer}`, rest);
  return module === 1 ? `${block}.attentions.${layer}.${rest}` : undefined;
}

function resnetName(path: string, rest: string): string | undefined {
  const [, inner, leaf] = /^(.+)\.(\w+)$/.exec(rest) ?? [];
  const own = inner === undefined ? undefined : LDM_RESNET[inner];
  return own === undefined ? undefined : `${path}.${own}.${leaf}`;
}

/**
 * The layout that a whole UNet's LDM names (without prefix) show: downsamplings are named `op`.
 * Undefined if they are not numbered as the UNet's are, as in a file with only some of the tensors.
 */
export function unetLayout(names: Iterable<string>): UNetLayout | undefined {
  const downsamplings = new Set<number>();
  let last = 0;
  let outputs = 0;
  for (const name of names) {
    const [, side, number, rest] = /^(input_blocks|output_blocks)\.(\d+)\.\d+\.(.+)$/.exec(name) ?? [];
    if (side === "output_blocks") outputs = Math.max(outputs, Number(number) + 1);
    if (side !== "input_blocks") continue;
    last = Math.max(last, Number(number));
    if (rest!.startsWith("op.")) downsamplings.add(Number(number));
  }
  if (last === 0 || outputs !== last + 1) return undefined; // conv_in, layers and downsamplings are as many as up layers
  const layersPerBlock: number[] = [];
  let start = 0;
  for (const at of [...downsamplings].toSorted((a, b) => a - b)) {
    layersPerBlock.push(at - start - 1);
    start = at;
  }
  layersPerBlock.push(last - start);
  return layersPerBlock.every((layers) => layers > 0) ? { layersPerBlock } : undefined;
}
