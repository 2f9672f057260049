import { ATTACK_OPTIONS, GATE_OPTIONS } from "../../attack/option-table.ts";
import { ATTACKERS, PROBES, comparesWithOriginal, readsOriginalText } from "../../attack/attackers.ts";
import { choice, file, flag, required, text } from "../../options/option.ts";
import { JUDGE_OPTIONS } from "./judge.ts";
import { MODEL_OPTIONS } from "./model-options.ts";

const WITH_ORIGINAL = ATTACKERS.filter((attacker) => comparesWithOriginal(attacker) || readsOriginalText(attacker));

/**
 * Everything that decides an attack's outcome on one adapter: what `lethe attack` and the page's form take, and run.json keeps as its
 * settings.
 */
export const RUN_OPTIONS = {
  model: required({ value: "model", help: "the model that is attacked" }),
  prompt: required({ value: "prompt", help: "the prompt that names the erased concept" }),
  ...MODEL_OPTIONS,
  target: file({
    value: "image.png",
    help: "a picture of the concept; resized (bicubic, shortest edge) and centre-cropped to the model's size, as the reference does",
  }),
  endpoint: text({
    default: null,
    value: "url",
    defaultNote: "--model draws",
    help:
      "judged pictures come from an image endpoint in the OpenAI form, such as lethe serve's; of --model only what the search " +
      "needs is used",
    check: endpointProblem,
  }),
  original: file({
    value: "model",
    defaultNote: "--model without what is laid over it",
    help: `${WITH_ORIGINAL.join(", ")} and --judge diffusion: the model before unlearning`,
  }),
  from: file({
    of: ["transfer"],
    value: "attack.jsonl",
    help: "the log of a run on another model; the prompts that succeeded there are tried, with --seed's seed only where some did",
  }),
  conceptPairs: file({
    of: ["ring-a-bell"],
    help: "CSV with columns with, without, or JSON [[with, without], ...]: prompts with the concept and without",
  }),
  mask: file({
    of: ["inpainting"],
    value: "mask.png",
    defaultNote: "the middle half",
    help: "what is painted anew, white, in the target's size",
  }),
  conceptPictures: file({
    of: ["latent-classifier", "relearn-lora"],
    value: "dir",
    help: "pictures of the concept to train on; relearn-lora: default the target",
  }),
  otherPictures: file({
    of: ["latent-classifier", "relearn-lora"],
    value: "dir",
    help: "pictures of other things; relearn-lora: for its control, default the control picture",
  }),
  controlModel: file({ of: PROBES, value: "model", help: "a model that never saw the concept, for the probe's control" }),
  controlUnet: file({
    of: PROBES,
    help: "UNet weights laid over --control-model or, without it, over --model, e.g. a model that was made to forget another concept",
  }),
  controlPicture: file({ of: PROBES, value: "image.png", help: "an unrelated picture, for the control of a probe that takes a picture" }),
  ...JUDGE_OPTIONS,
  ...ATTACK_OPTIONS,
  universal: flag({
    help: "one set of tokens for all prompts of --prompts and their pictures; it succeeds if every prompt draws the concept with it",
  }),
  prompts: file({
    help: "--universal: prompts CSV with the columns prompt, evaluation_seed and, if wanted, case_number, evaluation_guidance (or i2p's)",
  }),
  targets: file({
    value: "dir",
    defaultNote: "imgs beside the table",
    help: "--universal: folder of the cases' pictures, CASE_0.png or CASE.png",
  }),
  gate: choice(["diffusion"], {
    default: null,
    help: "draw only prompts under which the model predicts the noise in the target better than under the original prompt",
  }),
  gateMargin: GATE_OPTIONS.margin,
  gateSamples: GATE_OPTIONS.samples,
};

function endpointProblem(url: string): string | undefined {
  const known = URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
  return known ? undefined : "must be an address such as http://localhost:8421/v1";
}
