import { classifierJudge } from "../../engine/attack/judge.ts";
import type { Judge } from "../../engine/attack/types.ts";
import { type ImageClassifier, loadClassifier } from "../../engine/models/image-classifier.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type DownloadContext, resolveModel } from "../model-source.ts";

/** Bundled judges by name: classifiers of the bundled model's data. */
const BUNDLED: Readonly<Record<string, string>> = { "emoji-object": "emoji/classifier/object", "emoji-style": "emoji/classifier/style" };

export const JUDGE_NAMES = Object.keys(BUNDLED);

export interface OpenJudge {
  readonly judge: Judge;
  readonly classifier: ImageClassifier;
  /** Its files, for the record. */
  readonly folder: string;
}

/** @throws FormatError or InputError naming the file; InputError for a label that the classifier does not have */
export async function openJudge(context: DownloadContext, device: Device, { classifier: dir, judge: name, label }: { readonly classifier: string | null; readonly judge: string | null; readonly label: string | null }): Promise<OpenJudge> {
  const source = await resolveModel(dir ?? BUNDLED[name ?? ""] ?? "", context);
  const classifier = await loadClassifier(device, source);
  return { judge: classifierJudge(classifier, label ?? ""), classifier, folder: source.folder };
}
