import { isObject } from "../../formats/file-system.ts";
import { attack } from "./attack/attack.ts";
import type { Golden } from "../golden.ts";
import { fullWeights, listsWeights } from "./model/full-weights.ts";
import type { Form } from "../check.ts";
import { fullTextUNet, fullVae, fullXl } from "./model/full.ts";
import { insertionLayouts } from "./attack/insertion-layouts.ts";
import { lossGrad } from "./model/loss-grad.ts";
import { ops } from "./ops.ts";
import { clipScore } from "./metrics/clip-score.ts";
import { fid } from "./metrics/fid.ts";
import { folders } from "./metrics/folders.ts";
import { inception, inceptionWeights } from "./metrics/inception.ts";
import { resize } from "./metrics/resize.ts";
import { PROBE_FORMS } from "./probes/index.ts";
import { projection } from "./attack/projection.ts";
import { reference } from "./model/reference.ts";
import { samples } from "./model/samples.ts";
import { schedulers } from "./schedulers.ts";
import { tokenizer } from "./tokenizer.ts";
import { torchRng } from "./torch-rng.ts";
import { unet } from "./model/unet.ts";
import { unlearnTrace } from "./unlearn/index.ts";
import { vae } from "./model/vae.ts";
import { xlSamples } from "./model/xl-samples.ts";
import { oneTextEncoder, textEncoders } from "./model/text-encoders.ts";
import { weightGrad } from "./model/weight-grad.ts";

export interface KnownForm {
  readonly name: string;
  readonly check: Form;
  /** Whether a file is of this form, by what it holds, where its name does not say. */
  readonly fits: (golden: Golden) => boolean;
}

const tensors = (...names: string[]) => (g: Golden): boolean => names.every((n) => g.has(n));
const some = (g: Golden, pattern: RegExp): boolean => g.names().some((n) => pattern.test(n));

/** Whether cases are calls of a pipeline. */
const calls = ({ json: { cases } }: Golden): boolean => Array.isArray(cases) && cases.every((c) => isObject(c) && isObject(c["call"]));

/** Every form there is a check for. */
const FORMS: readonly KnownForm[] = [
  { name: "unlearn", check: unlearnTrace, fits: (g) => g.json["form"] === "unlearn" },
  ...PROBE_FORMS,
  { name: "full_sdxl", check: fullXl, fits: tensors("ids_1", "ids_2", "text2.text_embeds", "text2.hidden.0.stats") },
  { name: "golden_text_encoders", check: textEncoders, fits: tensors("ids_1", "ids_2", "text2.text_embeds") },
  { name: "golden_loss_grad_sdxl", check: lossGrad, fits: tensors("ids_1", "x0", "noise", "time_ids") },
  { name: "golden_unet_sdxl", check: unet, fits: (g) => tensors("ctx", "text_embeds", "time_ids")(g) && some(g, /^eps\./) },
  { name: "samples_sdxl", check: xlSamples, fits: (g) => g.has("init_latent") && calls(g) },
  { name: "full_text_unet", check: fullTextUNet, fits: tensors("ids", "text.last_hidden_state") },
  { name: "full_weights", check: fullWeights, fits: (g) => listsWeights(g.json) },
  { name: "full_vae", check: fullVae, fits: (g) => some(g, /\.act\.decoder\..*\.stats$/) },
  { name: "golden_text_encoder", check: oneTextEncoder, fits: tensors("ids", "last_hidden_state") },
  { name: "golden_weight_grad", check: weightGrad, fits: (g) => some(g, /^grad\.(unet|text_encoder)\./) },
  { name: "golden_loss_grad", check: lossGrad, fits: (g) => tensors("ids", "x0", "noise")(g) && some(g, /^d_embeds\./) },
  { name: "golden_unet", check: unet, fits: (g) => tensors("ctx")(g) && some(g, /^eps\./) },
  { name: "golden_vae", check: vae, fits: (g) => some(g, /\.decoded$/) && some(g, /\.mean$/) && some(g, /\.image$/) },
  { name: "samples", check: samples, fits: tensors("ids.prompt", "ids.empty") },
  { name: "projection", check: projection, fits: (g) => some(g, /\/a$/) && some(g, /\/exact$/) },
  {
    name: "insertion_layouts",
    check: insertionLayouts,
    fits: (g) => Array.isArray(g.json["table"]) && typeof g.json["markers"] === "string",
  },
  { name: "attack", check: attack, fits: (g) => typeof g.json["attacker"] === "string" },
  { name: "reference", check: reference, fits: (g) => isObject(g.json["ddim"]) && some(g, /\.text_hidden$/) },
  { name: "resize", check: resize, fits: (g) => isObject(g.json["pictures"]) && some(g, /\.t2i(\.|$)/) },
  { name: "inception", check: inception, fits: (g) => some(g, /\.act\.Mixed_7c\./) },
  { name: "inception_weights", check: inceptionWeights, fits: (g) => Object.values(g.json).some((v) => isObject(v) && "fc.weight" in v) },
  { name: "fid", check: fid, fits: (g) => some(g, /^features\./) && some(g, /\.mu$/) },
  { name: "clip_score", check: clipScore, fits: tensors("image_embeds", "text_embeds") },
  { name: "folders", check: folders, fits: (g) => isObject(g.json["folders"]) && some(g, /\.features\d*$/) },
  { name: "tokenizer", check: tokenizer, fits: (g) => g.has("ids_hf") },
  { name: "schedulers", check: schedulers, fits: (g) => tensors("x_unit", "alphas_cumprod")(g) },
  { name: "torch-rng", check: torchRng, fits: (g) => Array.isArray(g.json["randn"]) },
  {
    name: "ops",
    check: ops,
    fits: (g) => Array.isArray(g.json["cases"]) && g.json["cases"].some((c: unknown) => isObject(c) && typeof c["op"] === "string"),
  },
];

/** The form of a file: by its content, since others may be named otherwise; undefined if it is none of ours. */
export function formOf(golden: Golden): KnownForm | undefined {
  return FORMS.find((f) => f.fits(golden)) ?? FORMS.find((f) => f.name === golden.name);
}

/** Names of all forms, for errors. */
export const FORM_NAMES: readonly string[] = FORMS.map((f) => f.name);
