import type { AttackCase } from "../../engine/attack/options.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { PictureFile } from "../../engine/platform/picture/read-picture.ts";
import type { ProbeParts } from "../../engine/run/prepared.ts";
import { type Target, fitTarget, maskOf } from "../../engine/run/target.ts";
import type { RunInputs } from "./inputs.ts";

/** The pictures of a run made to fit its model. */
export interface FittedInputs {
  readonly target: Target | undefined;
  readonly cases: readonly AttackCase[] | undefined;
  readonly probe: ProbeParts;
}

/** Makes a run's pictures fit the model. @throws InputError for a mask of another size than the target, or without area */
export function fitInputs(inputs: RunInputs, model: StableDiffusion): FittedInputs {
  const { conceptPictures, otherPictures, controlPicture, mask } = inputs;
  const fit = (picture: PictureFile) => fitTarget(picture, model).array;
  const target = inputs.target && fitTarget(inputs.target, model);
  const cases = inputs.cases?.map(({ prompt, seed, guidance, picture }) => ({
    prompt, seed, target: fit(picture), ...(guidance !== undefined && { guidance }),
  }));
  const taught = {
    ...(conceptPictures && { concept: conceptPictures.map(fit) }),
    ...(otherPictures && { other: otherPictures.map(fit) }),
  };
  const probe: ProbeParts = {
    ...(controlPicture && { controlPicture: fit(controlPicture) }),
    ...(mask && { mask: maskOf(mask, target, model) }),
    ...((conceptPictures || otherPictures) && { probePictures: taught }),
  };
  return { target, cases, probe };
}
