import { attentionTakesColumns } from "../../kernels/attention-plan.ts";
import { type Value, elementCount } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { slice } from "../../kernels/slice.ts";
import { type Layers, type LinearModule, splitGroup } from "../nn/layers.ts";
import type { UNetConfig } from "./unet-config.ts";

/**
 * What all blocks of a UNet take from one input, and so is computed in one product for all of them: of the time embedding a bias for each
 * resnet block, and of the text keys and values for each cross attention.
 */
interface Blocks {
  /** Module path and channels of each resnet block. */
  readonly resnets: readonly (readonly [path: string, channels: number])[];
  /** Module path, channels and heads of each cross attention. */
  readonly attentions: readonly (readonly [path: string, channels: number, heads: number])[];
}

/** In the order of the forward pass. */
function blocksOf({ blockOutChannels, layersPerBlock, downAttention, upAttention, transformerLayers, heads }: UNetConfig): Blocks {
  const resnets: [string, number][] = [];
  const attentions: [string, number, number][] = [];
  const levels = blockOutChannels.length;
  const add = (block: string, level: number, count: number, transformers: number): void => {
    for (let i = 0; i < count; i++) {
      resnets.push([`${block}.resnets.${i}`, blockOutChannels[level]!]);
      if (i >= transformers) continue;
      for (let l = 0; l < transformerLayers[level]!; l++) {
        attentions.push([`${block}.attentions.${i}.transformer_blocks.${l}.attn2`, blockOutChannels[level]!, heads[level]!]);
      }
    }
  };
  for (let level = 0; level < levels; level++) {
    add(`down_blocks.${level}`, level, layersPerBlock[level]!, downAttention[level] ? layersPerBlock[level]! : 0);
  }
  add("mid_block", levels - 1, 2, 1);
  for (let block = 0; block < levels; block++) {
    const level = levels - 1 - block;
    const count = layersPerBlock[level]! + 1;
    add(`up_blocks.${block}`, level, count, upAttention[block] ? count : 0);
  }
  return { resnets, attentions };
}

/** The bias [B, channels] of each resnet block, by its module path, of the time embedding after SiLU [B, T]. */
export function timeBiases(layers: Layers, config: UNetConfig, time: Value): ReadonlyMap<string, Value> {
  const { resnets } = blocksOf(config);
  const modules = resnets.map(([path, out]) => ({ name: `${path}.time_emb_proj`, in: time.type.shape[1]!, out }));
  const biases = layers.linears(time, modules, { bias: true });
  return new Map(resnets.map(([path], i) => [path, biases[i]!]));
}

/** Layers to_k and to_v of all cross attentions in groups of one product each, for `rows` tokens in all. */
function textGroups(layers: Layers, config: UNetConfig, rows: number): LinearModule[][] {
  const { attentions } = blocksOf(config);
  const modulesOf = (path: string, out: number): LinearModule[] =>
    ["to_k", "to_v"].map((name) => ({ name: `${path}.${name}`, in: config.crossAttentionDim, out }));
  const joint = attentions.filter(([, channels, heads]) => attentionTakesColumns(channels / heads));
  const apart = attentions.filter((a) => !joint.includes(a));
  return [
    ...layers.groups(joint.flatMap(([path, channels]) => modulesOf(path, channels)), rows),
    ...apart.flatMap(([path, channels]) => modulesOf(path, channels).map((module) => [module])),
  ];
}

/**
 * All that a UNet takes of a text encoding [B, T, D]: the keys and values of every cross attention, side by side in as few tensors
 * [B, T, columns] as a device can bind; and last, where it has additions (SDXL), the pooled text [B, P] out of the encoding's last row.
 * They do not depend on latents or timestep.
 */
export function textProducts(layers: Layers, config: UNetConfig, context: Value): Value[] {
  const { g } = layers;
  const [batch, rows] = context.type.shape as [number, number];
  const tokens = config.addition ? slice(g, context, 0, rows - 1, 1) : context;
  const products = textGroups(layers, config, elementCount(tokens.type.shape.slice(0, -1))).map((group) =>
    layers.group(tokens, group, { bias: false }),
  );
  if (!config.addition) return products;
  const { pooledWidth } = config.addition;
  const pooled = slice(g, slice(g, context, rows - 1, 1, 1), 0, pooledWidth);
  return [...products, reshape(g, pooled, [batch, pooledWidth])];
}

/** The pooled text [B, P] out of `textProducts`; undefined of a UNet without additions. */
export function pooledText({ addition }: UNetConfig, products: readonly Value[]): Value | undefined {
  return addition && products.at(-1);
}

/** Keys and values [B, T, channels] by the module paths of their layers, out of `textProducts`. */
export function textKeyValues(layers: Layers, config: UNetConfig, products: readonly Value[]): ReadonlyMap<string, Value> {
  const groups = textGroups(layers, config, elementCount(products[0]!.type.shape.slice(0, -1)));
  return new Map(
    groups.flatMap((group, i) => splitGroup(layers.g, products[i]!, group).map((value, j) => [group[j]!.name, value] as const)),
  );
}
