import { PROBES } from "../attackers.ts";
import { INVERSIONS } from "../../diffusion/steering/inversions.ts";
import { choice, number, text, whole } from "../../options/option.ts";

/** The numbers of a list "1, 1.17, 1.34". */
export function parseNumbers(list: string): number[] {
  return list.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
}

/** A prompt and its weight in a sum of predictions. */
export interface Component {
  readonly prompt: string;
  readonly weight: number;
}

/** The components of "PROMPT:WEIGHT; PROMPT:WEIGHT". A weight that is missing is NaN. */
export function parseComponents(list: string): Component[] {
  return list.split(";").map((part) => {
    const [, prompt, weight] = /^(.*?)(?::\s*(-?(?:\d+\.?\d*|\.\d+)))?\s*$/s.exec(part.trim())!;
    return { prompt: prompt!.trim(), weight: weight === undefined ? Number.NaN : Number(weight) };
  });
}

const numbers = (low: number, high: number, integers = false) => (list: string): string | undefined =>
  parseNumbers(list).every((n) => n >= low && n <= high && (!integers || Number.isInteger(n)))
    ? undefined
    : `must be ${integers ? "whole numbers" : "numbers"} from ${low} to ${high}, separated by commas`;

/** What probes are told besides; defaults are the published ones, whose sources docs/probes.md names. */
export const PROBE_OPTIONS = {
  etas: text({
    default: "1,1.17,1.34,1.51,1.68,1.85",
    of: ["noise-probe", "latent-classifier"],
    value: "list",
    help: "DDIM's shares of fresh noise that are tried",
    check: numbers(0, 4),
  }),
  varianceScales: text({
    default: "1,1.02,1.03,1.04",
    of: ["noise-probe"],
    value: "list",
    help: "factors of that noise, each tried with each share",
    check: numbers(0, 4),
  }),
  inversion: choice(INVERSIONS, {
    default: "renoise",
    of: ["ddim-inversion"],
    value: "form",
    help: "how the picture is carried back to noise; nti is the simplest",
  }),
  inversionGuidance: number({ default: 1, min: 0, of: ["ddim-inversion"], value: "scale", help: "guidance on both ways; memora: 7.5" }),
  recallSign: choice(["ascent", "descent"], {
    default: "ascent",
    of: ["recall"],
    value: "way",
    help: "whether the loss is ascended, as the published code does, or descended",
  }),
  recallIterations: whole({ default: 20, min: 1, of: ["recall"], help: "iterations at each timestep" }),
  recallTimesteps: whole({ default: 50, min: 1, max: 1000, of: ["recall"], help: "timesteps, from the least noisy" }),
  recallRate: number({ default: 0.001, min: 0, of: ["recall"], value: "r", help: "how far an iteration moves each element" }),
  momentum: number({ default: 0.9, min: 0, max: 1, of: ["recall"], value: "m", help: "share of the earlier gradients" }),
  blend: number({ default: 0.25, min: 0, max: 1, of: ["recall"], value: "p", help: "share of the picture in the first latents" }),
  reinject: number({
    default: 0.05,
    min: 0,
    of: ["recall"],
    value: "p",
    help: "share of the picture added every --reinject-every timesteps",
  }),
  reinjectEvery: whole({ default: 5, min: 1, of: ["recall"], help: "after how many timesteps" }),
  baseSteps: text({
    default: "1,2,3",
    of: ["completion"],
    value: "list",
    help: "how many first steps the model before unlearning makes; each is a try",
    check: numbers(1, 1000, true),
  }),
  components: text({
    default: null,
    of: ["concept-arithmetic"],
    value: "list",
    help: "\"PROMPT:WEIGHT; PROMPT:WEIGHT\": prompts whose predictions are added up; the weights' sum is the effective guidance",
    check: (list) =>
      parseComponents(list).every(({ prompt, weight }) => prompt !== "" && Number.isFinite(weight))
        ? undefined
        : "must be PROMPT:WEIGHT, several separated by semicolons",
  }),
  classifierScales: text({
    default: "30,50,75,125",
    of: ["latent-classifier"],
    value: "list",
    help: "how strongly the classifier guides; each is tried with each of --etas",
    check: numbers(0, 10_000),
  }),
  classifierSteps: whole({ default: 300, min: 1, of: ["latent-classifier"], help: "steps that the classifier is trained for" }),
  reg: number({ default: 0.1, min: 0, above: true, of: ["rece-closed-form"], value: "r", help: "regularisation of the closed form" }),
  strengths: text({
    default: "0.4,0.6,0.8",
    of: ["img2img", "recall", "inpainting"],
    defaultOf: { recall: "0.8", inpainting: "1" },
    defaultNote: "0.4,0.6,0.8; recall 0.8; inpainting 1",
    value: "list",
    help: "how much noise the picture is given, from 0 to 1; each is a try",
    check: numbers(0, 1),
  }),
  relearnSteps: text({
    default: "25,50,100",
    of: ["relearn-lora"],
    value: "list",
    help: "after how many training steps pictures are drawn; each is a try",
    check: numbers(0, 100_000, true),
  }),
  relearnRate: number({ default: 1e-3, min: 0, above: true, of: ["relearn-lora"], value: "r", help: "of AdamW" }),
  loraRank: whole({ default: 4, min: 1, max: 1024, of: ["relearn-lora"], help: "of the added matrices" }),
  loraAlpha: number({
    default: null,
    min: 0,
    above: true,
    defaultNote: "--lora-rank",
    of: ["relearn-lora"],
    help: "their product is multiplied by alpha / rank",
  }),
  loraTargets: choice(["attention", "cross-attention"], {
    default: "attention",
    of: ["relearn-lora"],
    value: "which",
    help: "attentions whose q, k, v and output get an addition",
  }),
  seeds: whole({
    default: 1,
    min: 1,
    max: 1000,
    of: ["img2img", "inpainting", "recall", "completion", "concept-arithmetic", "rece-closed-form", "relearn-lora"],
    help: "seeds that are tried for each setting, --seed and the next ones; controls have as many",
  }),
  controlPrompt: text({
    default: null,
    of: PROBES,
    help: "a prompt of an unrelated concept; it takes the place of --control-model where there is none",
  }),
};
