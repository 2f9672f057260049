import type { AttackParts } from "../../engine/attack/options.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { PictureFile } from "../../engine/platform/picture/read-picture.ts";
import { type Target, fitTarget, maskOf } from "../../engine/run/target.ts";
import type { RunInputs } from "./inputs.ts";

/** The pictures of a run made to fit its model. */
export interface FittedInputs extends Pick<AttackParts, "cases" | "controlPicture" | "mask" | "probePictures"> {
  readonly picture: Target | undefined;
}

/** Makes a run's pictures fit the model. @throws InputError for a mask of another size than the target, or without area */
export function fitInputs(inputs: RunInputs, model: StableDiffusion): FittedInputs {
  const { conceptPictures: concept, otherPictures: other, controlPicture, mask } = inputs;
  const fit = (picture: PictureFile) => fitTarget(picture, model).array;
  const picture = inputs.target && fitTarget(inputs.target, model);
  const taught = { ...(concept && { concept: concept.map(fit) }), ...(other && { other: other.map(fit) }) };
  return {
    picture,
    cases: inputs.cases?.map((one) => ({
      prompt: one.prompt, seed: one.seed, target: fit(one.picture), ...(one.guidance !== undefined && { guidance: one.guidance }),
    })),
    controlPicture: controlPicture && fit(controlPicture),
    mask: mask && maskOf(mask, picture, model),
    probePictures: concept || other ? taught : undefined,
  };
}
