/** What Stable Diffusion XL has besides a text encoder: a second one, whose tokenizer pads otherwise. */
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { SecondEncoderPart } from "../diffusion/model/recorded-model.ts";
import type { TextEncoderPart } from "../diffusion/model/text-model.ts";
import { TwoEncoders, projectionWidth } from "../diffusion/model/two-encoders.ts";
import { textEncoderConfig } from "../diffusion/text-encoder.ts";
import type { UNetConfig } from "../diffusion/unet-config.ts";
import type { Parameters } from "../nn/parameters.ts";
import { InputError } from "../runtime/errors.ts";
import { type OpenSecond, SECOND_PAD } from "./open-model.ts";

/**
 * The second encoder, and how the two become one.
 * @param tokenizer the first one's, if the model has one
 * @throws InputError unless the two encoders, their tokenizers and the UNet belong together
 */
export function secondEncoder(
  { config, tokenizer: own, zerosForNoPrompt }: OpenSecond,
  first: TextEncoderPart,
  unet: UNetConfig,
  tokenizer: Tokenizer | undefined,
  parameters: Parameters,
): SecondEncoderPart {
  const second = textEncoderConfig(config);
  const pooled = projectionWidth(config);
  const { hiddenSize, vocabularySize, maxLength } = first.config;
  if (second.vocabularySize !== vocabularySize || second.maxLength !== maxLength) {
    throw new InputError(
      `${config.file}: has ${second.vocabularySize} tokens and ${second.maxLength} positions, ` +
        `the first text encoder ${vocabularySize} and ` +
        `${maxLength}: the two do not belong together`,
    );
  }
  if (hiddenSize + second.hiddenSize !== unet.crossAttentionDim || pooled !== unet.addition?.pooledWidth) {
    throw new InputError(
      `${config.file}: the text encoders are ${hiddenSize} and ${second.hiddenSize} wide and pool ${pooled} numbers, the UNet expects ` +
        `${unet.crossAttentionDim} together (cross_attention_dim) and ${unet.addition?.pooledWidth ?? "none"}: they do not belong together`,
    );
  }
  if (tokenizer && own) requireAlike(config.file, tokenizer, own);
  const [eosId, padId] = [tokenizer?.eosId ?? vocabularySize - 1, own?.padId ?? SECOND_PAD];
  return {
    parameters,
    join: (one, other) => new TwoEncoders(one, { config: second, parameters: other, projectionWidth: pooled, eosId, padId }),
    tokenizer: own,
    zerosForNoPrompt,
  };
}

/** @throws InputError unless the two read prompts alike; the second cuts out `!`, which it pads with */
function requireAlike(file: string, first: Tokenizer, second: Tokenizer): void {
  const facts = ({ vocabularySize, bosId, eosId, tokenize }: Tokenizer): string =>
    [vocabularySize, bosId, eosId, ...tokenize("A photo of 2 churches, it's sunset")].join();
  if (facts(first) !== facts(second)) {
    throw new InputError(`${file}: its tokenizer reads prompts otherwise than the first one does; SDXL's two differ by their padding only`);
  }
}
