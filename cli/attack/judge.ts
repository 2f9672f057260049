import { diffusionJudge } from "../../engine/attack/diffusion-judge.ts";
import { classifierJudge } from "../../engine/attack/judge.ts";
import type { Judge } from "../../engine/attack/types.ts";
import { loadClassifier } from "../../engine/models/image-classifier.ts";
import type { StableDiffusion } from "../../engine/models/stable-diffusion.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type DownloadContext, resolveModel } from "../model-source.ts";
import { readPrompts } from "../prompts-file.ts";

/** Bundled judges by name: classifiers of the bundled model's data. */
const BUNDLED: Readonly<Record<string, string>> = { "emoji-object": "emoji/classifier/object", "emoji-style": "emoji/classifier/style" };

export const JUDGE_NAMES = Object.keys(BUNDLED);

export interface OpenJudge {
  readonly judge: Judge;
  /** Frees its model. */
  readonly destroy: () => Promise<void>;
  /** Its files, for the record. */
  readonly folder: string;
}

/** @throws FormatError or InputError naming the file; InputError for a label that the classifier does not have */
export async function openJudge(context: DownloadContext, device: Device, { classifier: dir, judge: name, label }: { readonly classifier: string | null; readonly judge: string | null; readonly label: string | null }): Promise<OpenJudge> {
  const source = await resolveModel(dir ?? BUNDLED[name ?? ""] ?? "", context);
  const classifier = await loadClassifier(device, source);
  return { judge: classifierJudge(classifier, label ?? ""), destroy: () => classifier.destroy(), folder: source.folder };
}

/** The judge that needs no other network than the model before unlearning. */
export const DIFFUSION_JUDGE = "diffusion";

/** @param original the model before unlearning @throws FormatError for the prompts; UsageError for a label that is none of them */
export async function openDiffusionJudge(original: StableDiffusion, { judgePrompts, label }: { readonly judgePrompts: string | null; readonly label: string | null }): Promise<OpenJudge> {
  const { file, prompts } = await readPrompts(judgePrompts ?? "");
  return { judge: diffusionJudge(original, label ?? "", { prompts }), destroy: () => original.destroy(), folder: file };
}
