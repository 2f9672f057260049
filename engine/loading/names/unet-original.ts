/**
 * The original code's (CompVis, "LDM") names of UNet tensors that have diffusers' names: the way back of `unetName`, and from the same
 * source.
 */
import { LDM_RESNET, LDM_SINGLE, type UNetLayout } from "./unet.ts";

const RESNET = new Map(Object.entries(LDM_RESNET).map(([original, name]) => [name, original]));
const SINGLE = Object.entries(LDM_SINGLE);

/**
 * The original names of a UNet's tensors, by diffusers'.
 * @param names of the whole UNet: which up blocks have transformers decides where their upsampling is
 * @throws Error naming a tensor that has none
 */
export function originalUNetNames(names: Iterable<string>, { layersPerBlock }: UNetLayout): Map<string, string> {
  const all = [...names];
  const transforms = new Set(all.flatMap((name) => /^up_blocks\.(\d+)\.attentions\./.exec(name)?.[1] ?? []));
  const upsampling = (block: number): number => (transforms.has(String(block)) ? 2 : 1);
  return new Map(all.map((name) => {
    const original = originalName(name, layersPerBlock, upsampling);
    if (original === undefined) throw new Error(`the original Stable Diffusion code has no name for the UNet tensor "${name}"`);
    return [name, original];
  }));
}

/** @param upsampling which of an up block's modules it is */
function originalName(name: string, layers: readonly number[], upsampling: (block: number) => number): string | undefined {
  const single = SINGLE.find(([, ours]) => name.startsWith(`${ours}.`));
  if (single) return single[0] + name.slice(single[1].length);
  const [, path, kind, index, rest] =
    /^((?:down|up)_blocks\.\d+|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(name) ?? [];
  if (path === undefined) return undefined;
  const inner = kind === "resnets" ? resnetName(rest!) : rest;
  if (inner === undefined) return undefined;
  const [layer, module] = [Number(index), kind === "attentions" ? 1 : 0];
  if (path === "mid_block") {
    const at = module === 1 ? 1 : 2 * layer;
    return at > 2 ? undefined : `middle_block.${at}.${inner}`;
  }
  const block = Number(path.split(".")[1]);
  if (path.startsWith("down")) {
    const own = layers[block];
    if (own === undefined) return undefined;
    const first = 1 + block + sum(layers.slice(0, block)); // conv_in, and a downsampling for each level before
    if (kind === "downsamplers") return rest!.startsWith("conv.") ? `input_blocks.${first + own}.0.op.${rest!.slice(5)}` : undefined;
    return layer < own ? `input_blocks.${first + layer}.${module}.${inner}` : undefined;
  }
  const ascending = layers.toReversed();
  const own = ascending[block];
  if (own === undefined) return undefined;
  const first = block + sum(ascending.slice(0, block)); // an up level has one layer more
  if (kind === "upsamplers") return `output_blocks.${first + own}.${upsampling(block)}.${inner}`;
  return layer <= own ? `output_blocks.${first + layer}.${module}.${inner}` : undefined;
}

function resnetName(rest: string): string | undefined {
  const [, module, leaf] = /^(.+)\.(\w+)$/.exec(rest) ?? [];
  const original = module === undefined ? undefined : RESNET.get(module);
  return original === undefined ? undefined : `${original}.${leaf}`;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
