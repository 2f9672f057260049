/**
 * SPM's erasers (arXiv 2312.16145) as they are published: rank-1 modules whose strength depends on the prompt ("facilitated transport").
 * Source: github.com/Con6924/SPM, infer_spm.py with its default metric, `clipcos_tokenuni`.
 */
import { foldCopies, groupTensors } from "./names/groups.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { InputError } from "../runtime/errors.ts";
import type { StableDiffusion, Transport } from "../diffusion/stable-diffusion.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { mergeLowRank } from "./low-rank.ts";

/** A UNet whose weights follow the prompt. */
export interface TransportedWeights {
  readonly weights: WeightSource;
  readonly transport: Transport;
}

/**
 * `base` with an SPM file over it. Its weights are W + m^2 * (alpha / rank) * up * down with m the matching score of the prompt set last; 1
 * before the first.
 * The square is the published code's: it multiplies both matrices by m.
 * @throws InputError if the file names no erased prompt or has no module for the UNet; what `mergeLowRank` throws
 */
export async function transported(base: WeightSource, file: TensorFile, layersPerBlock: readonly number[]): Promise<TransportedWeights> {
  const erased = (file.metadata["prompts"] ?? "").split(",").filter((prompt) => prompt.trim() !== "");
  if (erased.length === 0) throw new InputError(`${file.name}: its metadata names no erased prompt, by which the strength is found`);
  let strength = 1;
  const changed = new Set<string>();
  const groups = await foldCopies(file, groupTensors(file));
  const weights = await mergeLowRank(base, file, groups, {
    component: "unet",
    strength: () => strength,
    layersPerBlock,
    onTarget: (tensor) => changed.add(tensor),
  });
  if (!weights) throw new InputError(`${file.name}: is an eraser of SPM without a module for the UNet`);
  const encodings = new Map<string, Float32Array>();
  const encoded = async (model: StableDiffusion, prompt: string): Promise<Float32Array> => {
    const known = encodings.get(prompt) ?? (await model.encodePrompt(prompt)).data;
    if (erased.includes(prompt)) encodings.set(prompt, known);
    return known;
  };
  return {
    weights,
    transport: {
      erased,
      async to(model, prompt) {
        const own = await encoded(model, prompt);
        let score = 0;
        for (const [i, concept] of erased.entries()) {
          const match = Math.max(cosine(own, await encoded(model, concept)), sharedTokens(model, prompt, concept));
          score = i === 0 ? match : Math.max(score, match);
        }
        if (score ** 2 === strength) return score;
        strength = score ** 2;
        await model.parts.unet.parameters.reload(changed);
        return score;
      },
    },
  };
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.max(Math.sqrt(aa) * Math.sqrt(bb), 1e-8);
}

/** The part of the concept's tokens, special ones aside, that the prompt has too. */
function sharedTokens({ tokenizer }: StableDiffusion, prompt: string, concept: string): number {
  const special = new Set([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]);
  const ids = (text: string): Set<number> => new Set([...tokenizer.encode(text)].filter((id) => !special.has(id)));
  const [own, wanted] = [ids(prompt), ids(concept)];
  return wanted.size === 0 ? 0 : [...wanted].filter((id) => own.has(id)).length / wanted.size;
}
