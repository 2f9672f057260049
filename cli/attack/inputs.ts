import type { TransferCandidate } from "../../engine/attack/options.ts";
import type { ConceptPair } from "../../engine/attack/search/concept-vector.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, readText } from "../../engine/platform/node-files.ts";
import { type PictureFile, readPicture } from "../../engine/platform/picture/read-picture.ts";
import { parseCandidates } from "../../engine/run/candidates.ts";
import { parseConceptPairs } from "../../engine/run/concept-pairs.ts";
import type { NeededFiles, RunNeeds } from "../../engine/run/settings/needs.ts";
import type { PromptCase } from "../evaluate/prompts.ts";
import { readCases } from "./cases.ts";
import type { ModelPart } from "../model.ts";

/** What a run reads from files besides models and judges. Pictures are as their files have them. */
export interface RunInputs {
  readonly target?: PictureFile | undefined;
  readonly candidates?: readonly TransferCandidate[] | undefined;
  readonly conceptPairs?: readonly ConceptPair[] | undefined;
  readonly cases?: readonly (PromptCase & { readonly picture: PictureFile })[] | undefined;
  readonly mask?: PictureFile | undefined;
  readonly controlPicture?: PictureFile | undefined;
  readonly conceptPictures?: readonly PictureFile[] | undefined;
  readonly otherPictures?: readonly PictureFile[] | undefined;
  /** All of these files, for the record. */
  readonly files: readonly ModelPart[];
}

const PICTURES = /\.(png|jpe?g|webp)$/i;

/** Reads all that a run needs besides models and judges. @throws FormatError naming the file that cannot be used */
export async function readInputs({ files: named, values: { seed } }: Pick<RunNeeds, "files" | "values">): Promise<RunInputs> {
  const paths = Object.fromEntries(
    Object.entries(named).map(([setting, name]) => [setting, name === null ? null : resolvePath(name)]),
  ) as NeededFiles;
  const files: ModelPart[] = [];
  const picture = (role: string, path: string): Promise<PictureFile> => {
    files.push({ role, path });
    return readPicture(path);
  };
  const pictures = async (folder: string): Promise<PictureFile[]> =>
    Promise.all((await picturesIn(folder)).map((path) => picture("training picture", path)));
  const text = (role: string, path: string): Promise<string> => {
    files.push({ role, path });
    return readText(path);
  };
  const { from, conceptPairs, prompts, targets, target, controlUnet, conceptPictures, otherPictures, controlPicture, mask } = paths;
  const candidates = from === null ? undefined : parseCandidates(from, await text("prompts", from), seed);
  if (prompts !== null) files.push({ role: "prompts", path: prompts });
  const rows = prompts === null ? undefined : await readCases(prompts, targets);
  const cases = rows && (await Promise.all(rows.map(async (row) => ({ ...row, picture: await picture("target", row.target) }))));
  const pairs = conceptPairs === null ? undefined : parseConceptPairs(conceptPairs, await text("concept pairs", conceptPairs));
  const shown = target === null ? undefined : await picture("target", target);
  if (controlUnet !== null) files.push({ role: "control", path: controlUnet });
  return {
    candidates,
    cases,
    conceptPairs: pairs,
    target: shown,
    conceptPictures: conceptPictures === null ? undefined : await pictures(conceptPictures),
    otherPictures: otherPictures === null ? undefined : await pictures(otherPictures),
    controlPicture: controlPicture === null ? undefined : await picture("control picture", controlPicture),
    mask: mask === null ? undefined : await picture("mask", mask),
    files,
  };
}

/** Every picture of a folder, by name. @throws FormatError for one without pictures */
async function picturesIn(folder: string): Promise<string[]> {
  if ((await nodeFiles.kind(folder)) !== "folder") throw new FormatError(folder, "is not a folder of pictures");
  const names = (await nodeFiles.list(folder)).filter((name) => PICTURES.test(name)).toSorted();
  if (names.length === 0) throw new FormatError(folder, "holds no picture (PNG, JPEG or WebP) to train on");
  return names.map((name) => `${folder}/${name}`);
}
