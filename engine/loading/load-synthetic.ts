import { createClipTokenizer } from "../../tokenizer/index.ts";
import { SYNTHETIC } from "../formats/model-source.ts";
import { UsageError } from "../runtime/errors.ts";
import { Config } from "../nn/config.ts";
import { type OpenComponent, type OpenModel, SECOND_PAD } from "./open-model.ts";
import { SYNTHETIC_MODELS, type SyntheticName, syntheticWeights } from "./synthetic.ts";

/**
 * A model of real shapes with made-up weights, for measuring and for checking against reference outputs of the same weights.
 * @param name `synthetic:` and one of SYNTHETIC_MODELS
 * @param clipMerges CLIP's merge list; without it the model has no tokenizer
 * @throws UsageError for another name
 */
export async function openSynthetic(name: string, clipMerges?: () => Promise<Uint8Array<ArrayBuffer>>): Promise<OpenModel> {
  const which = name.slice(SYNTHETIC.length);
  if (!Object.hasOwn(SYNTHETIC_MODELS, which)) {
    throw new UsageError(
      `no model "${name}"; there is ${Object.keys(SYNTHETIC_MODELS)
        .map((n) => SYNTHETIC + n)
        .join(", ")}`,
    );
  }
  const model = SYNTHETIC_MODELS[which as SyntheticName];
  const part = (component: string, fields: object): OpenComponent => ({
    config: Config.of(`${name} ${component}`, fields),
    weights: syntheticWeights(component, "gains" in model ? model.gains : undefined),
  });
  return {
    name,
    textEncoder: part("text_encoder", model.textEncoder),
    ...("textEncoder2" in model && {
      second: {
        ...part("text_encoder_2", model.textEncoder2),
        tokenizer: clipMerges && (await createClipTokenizer(await clipMerges(), { padId: SECOND_PAD })),
        zerosForNoPrompt: true,
      },
    }),
    unet: part("unet", model.unet),
    vae: part("vae", model.vae),
    scheduler: model.scheduler,
    tokenizer: clipMerges && (await createClipTokenizer(await clipMerges())),
  };
}
