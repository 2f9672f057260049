/**
 * Names of whole models in the original code's convention with what diffusers' own converter makes of them. Made from the original classes
 * (ldm's UNetModel, Encoder and Decoder; OpenCLIP's text transformer) and diffusers 0.21.4's convert_from_ckpt.py, and checked against the
 * names and shapes of diffusers' and transformers' models: sd1 and sd2 are the real ones, "small" has 3 levels of 1 layer, "deep" 2 of 3.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export interface NamePair {
  readonly original: string;
  /** In diffusers' convention; three for a fused query, key and value projection, none for what diffusers leaves out. */
  readonly names: readonly string[];
  /** In the original file. */
  readonly shape: readonly number[];
}

export type Section = "unet sd1" | "unet sd2" | "unet small" | "unet deep" | "vae sd1" | "vae small" | "vae deep" | "text sd2";

function sections(file: string): Map<string, string[][]> {
  const text = gunzipSync(readFileSync(`test/fixtures/names/${file}`)).toString();
  return new Map(text.trimEnd().split(/^## /m).slice(1).map((part) => {
    const [title, ...lines] = part.trimEnd().split("\n");
    return [title!, lines.map((line) => line.split("\t"))];
  }));
}

const shapeOf = (text: string): number[] => (text === "" ? [] : text.split("x").map(Number));
let originals: Map<string, string[][]> | undefined;

export function originalNames(section: Section): NamePair[] {
  originals ??= sections("original-names.txt.gz");
  return originals
    .get(section)!
    .map(([original, names, shape]) => ({
      original: original!,
      names: names === "" ? [] : names!.split(","),
      shape: shapeOf(shape ?? ""),
    }));
}

/** Every tensor of Stable Diffusion 1.4 by component, in diffusers' and transformers' names, with its shape. */
export function sd14Tensors(component: "unet" | "vae" | "text_encoder"): Map<string, number[]> {
  return new Map(sections("sd14-tensors.txt.gz").get(component)!.map(([name, shape]) => [name!, shapeOf(shape!)]));
}
