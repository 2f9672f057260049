/** The original code's (CompVis, "LDM") names of UNet tensors that have diffusers' names: the way back of `unetName`. */
import { LDM_RESNET, LDM_SINGLE, type UNetLayout, unetName } from "./unet.ts";

/**
 * The original names of a UNet's tensors, by diffusers'.
 * @param names of the whole UNet: which up blocks have transformers decides where their upsampling is
 * @throws Error naming a tensor that has none
 */
export function originalUNetNames(names: Iterable<string>, layout: UNetLayout): Map<string, string> {
  const all = [...names];
  const modules = originalModules(all, layout);
  return new Map(all.map((name) => {
    for (let at = name.lastIndexOf("."); at > 0; at = name.lastIndexOf(".", at - 1)) {
      const original = modules.get(name.slice(0, at));
      if (original !== undefined) return [name, original + name.slice(at)];
    }
    throw new Error(`the original Stable Diffusion code has no name for the UNet tensor "${name}"`);
  }));
}

/** Original paths of modules, by diffusers': every one that the layout has is asked for its name. */
function originalModules(names: readonly string[], layout: UNetLayout): Map<string, string> {
  const modules = new Map(Object.entries(LDM_SINGLE).map(([original, name]) => [name, original]));
  const add = (original: string): string => {
    const name = unetName(`${original}.x`, layout)?.slice(0, -".x".length);
    if (name !== undefined) modules.set(name, original);
    return name ?? "";
  };
  const addResnet = (path: string): void => Object.keys(LDM_RESNET).forEach((part) => add(`${path}.${part}`));
  addResnet("middle_block.0");
  add("middle_block.1");
  addResnet("middle_block.2");
  const { layersPerBlock } = layout;
  const count = layersPerBlock.reduce((a, b) => a + b, layersPerBlock.length);
  for (const block of ["input_blocks", "output_blocks"].flatMap((side) => Array.from({ length: count }, (_, i) => `${side}.${i}`))) {
    addResnet(`${block}.0`);
    add(`${block}.1`);
    add(`${block}.0.op`);
    const upsampling = add(`${block}.1.conv`);
    const transformer = upsampling.replace("upsamplers.0.conv", "attentions.0.");
    if (names.some((name) => name.startsWith(transformer)) && transformer !== upsampling) add(`${block}.2.conv`);
  }
  return modules;
}
