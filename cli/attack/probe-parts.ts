import type { ProbeParts } from "../../engine/run/prepared.ts";
import { isProbe } from "../../engine/attack/attackers.ts";
import { missingControls } from "../../engine/attack/probes/controls.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { latentMask } from "../../engine/diffusion/steering/inpaint.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import { type Target, fitTarget } from "../../engine/run/target.ts";
import type { Context } from "../context.ts";
import { readTarget } from "./target.ts";

/** How a control's model is opened. */
interface ControlOpening {
  readonly control: (context: Context, options: ModelOptions) => Promise<StableDiffusion>;
  /** What a run will take has been said before. */
  readonly quiet: boolean;
}

/** What a control that is missing is made of. */
const FLAGS = { picture: "--control-picture", prompt: "--control-prompt", other: "--control-model or --control-prompt" } as const;

const PICTURES = /\.(png|jpe?g|webp)$/i;

/** What a probe and its controls work with besides the model and the target, and the files it came from. */
export interface OpenedProbeParts {
  readonly parts: ProbeParts;
  readonly files: readonly { readonly role: string; readonly path: string }[];
}

/**
 * Opens a probe's mask, its classifier's pictures and what its controls are made of; says which controls cannot be made.
 * @throws FormatError, InputError naming the file that cannot be used
 */
export async function openProbeParts(
  context: Context,
  settings: AttackSettings,
  model: StableDiffusion,
  target: Target | undefined,
  opening: ControlOpening,
): Promise<OpenedProbeParts> {
  const { attacker, controlModel, controlUnet, controlPrompt, controlPicture, mask, conceptPictures, otherPictures } = settings;
  if (!isProbe(attacker)) return { parts: {}, files: [] };
  const files: { role: string; path: string }[] = [];
  const picture = async (role: string, name: string): Promise<Target> => {
    const read = await readTarget(name);
    files.push({ role, path: read.file });
    return fitTarget(read, model);
  };
  const control =
    controlModel === null && controlUnet === null
      ? undefined
      : await opening.control(context, { model: controlModel ?? settings.model, ...(controlUnet !== null && { unet: controlUnet }) });
  if (controlUnet !== null) files.push({ role: "control", path: resolvePath(controlUnet) });
  const taught = (conceptPictures ?? otherPictures) !== null && {
    ...(conceptPictures !== null && { concept: await folderOf(conceptPictures, picture) }),
    ...(otherPictures !== null && { other: await folderOf(otherPictures, picture) }),
  };
  const parts: ProbeParts = {
    ...(control && { controlModel: control }),
    ...(controlPicture !== null && { controlPicture: (await picture("control picture", controlPicture)).array }),
    ...(mask !== null && { mask: await readMask(mask, target, model) }),
    ...(taught && { probePictures: taught }),
  };
  if (mask !== null) files.push({ role: "mask", path: resolvePath(mask) });
  const prompt = controlPrompt !== null;
  const missing = missingControls(attacker, {
    other: control !== undefined || prompt,
    prompt,
    picture: (attacker === "relearn-lora" ? (controlPicture ?? otherPictures) : controlPicture) !== null,
  });
  if (missing.length > 0 && !opening.quiet) {
    context.warn(
      `without ${missing.map((c) => `control "${c.name}" (${c.is})`).join(" and ")} there is no verdict: give ` +
        [...new Set(missing.map(({ needs = "other" }) => FLAGS[needs]))].join(" and "),
    );
  }
  return { parts, files };
}

/** A mask of the target's size; its first channel counts. @throws InputError for another size or no area */
async function readMask(name: string, target: Target | undefined, model: StableDiffusion): Promise<NonNullable<ProbeParts["mask"]>> {
  const { file, image } = await readTarget(name);
  const [width, height] = [target?.image.width ?? image.width, target?.image.height ?? image.height];
  if (image.width !== width || image.height !== height) {
    throw new InputError(
      `${file}: the mask is ${image.width}x${image.height} pixels, the target ${width}x${height}: give one of that size`,
    );
  }
  const mask = { width, height, data: Uint8Array.from({ length: width * height }, (_, i) => image.data[3 * i]!) };
  latentMask(mask, model.parts.vae.config.factor); // refuses one without area before anything is drawn
  return mask;
}

/** Every picture of a folder. @throws FormatError for one without pictures */
async function folderOf(name: string, read: (role: string, name: string) => Promise<Target>): Promise<NDArray[]> {
  const folder = resolvePath(name);
  if ((await nodeFiles.kind(folder)) !== "folder") throw new FormatError(folder, "is not a folder of pictures");
  const names = (await nodeFiles.list(folder)).filter((n) => PICTURES.test(n)).toSorted();
  if (names.length === 0) throw new FormatError(folder, "holds no picture (PNG, JPEG or WebP) to train on");
  const pictures: NDArray[] = [];
  for (const one of names) pictures.push((await read("training picture", `${folder}/${one}`)).array);
  return pictures;
}
