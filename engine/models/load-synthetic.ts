import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { Config } from "./config.ts";
import { Parameters, type WeightPrecision } from "./parameters.ts";
import { StableDiffusion } from "./stable-diffusion.ts";
import { SYNTHETIC_MODELS, type SyntheticName, syntheticWeights } from "./synthetic.ts";
import { textEncoderConfig } from "./text-encoder.ts";
import { unetConfig } from "./unet.ts";
import { vaeConfig } from "./vae.ts";

/**
 * A model of real shapes with made-up weights, for measuring and for checking against reference outputs of the same weights.
 * @param name one of SYNTHETIC_MODELS
 * @param tokenizer CLIP's own
 * @throws UsageError for another name
 */
export function loadSynthetic(device: Device, name: string, tokenizer: Tokenizer, weights: WeightPrecision = "f32"): StableDiffusion {
  if (!Object.hasOwn(SYNTHETIC_MODELS, name)) throw new UsageError(`no synthetic model "${name}"; there is ${Object.keys(SYNTHETIC_MODELS).join(", ")}`);
  const model = SYNTHETIC_MODELS[name as SyntheticName];
  const part = (component: string): Parameters => new Parameters(component, device, syntheticWeights(component), weights);
  const config = (component: string, fields: object): Config => Config.of(`synthetic:${name} ${component}`, fields);
  return new StableDiffusion({
    device,
    name: `synthetic:${name}`,
    tokenizer,
    textEncoder: { config: textEncoderConfig(config("text_encoder", model.textEncoder)), parameters: part("text_encoder") },
    unet: { config: unetConfig(config("unet", model.unet)), parameters: part("unet") },
    vae: { config: vaeConfig(config("vae", model.vae)), parameters: part("vae") },
    scheduler: model.scheduler,
  });
}
