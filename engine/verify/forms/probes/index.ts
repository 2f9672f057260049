import type { Form } from "../../check.ts";
import type { Golden } from "../../golden.ts";
import { latentClassifier } from "./classifier.ts";
import { img2img, inpaint } from "./img2img.ts";
import { ddimInversion } from "./inversion.ts";
import { noiseProbe } from "./noise-probe.ts";
import { conceptArithmetic, diffusionCompletion, safreeForm } from "./prompts.ts";
import { receAttack } from "./rece-attack.ts";
import { recall } from "./recall.ts";

const PROBES: Readonly<Record<string, Form>> = {
  noise_probe: noiseProbe,
  ddim_inversion: ddimInversion,
  recall,
  diffusion_completion: diffusionCompletion,
  inpaint,
  concept_arithmetic: conceptArithmetic,
  latent_classifier: latentClassifier,
  rece_attack: receAttack,
  img2img,
  safree: safreeForm,
};

/** A form for each value of a reference's `probe`. */
export const PROBE_FORMS = Object.entries(PROBES).map(([name, check]) => ({
  name,
  check,
  fits: (golden: Golden): boolean => golden.json["probe"] === name,
}));
