import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Config } from "../nn/config.ts";
import type { WeightSource } from "../nn/parameters.ts";
import type { Json } from "./names/infer.ts";

/** The id that SDXL's second tokenizer pads with, `!`. */
export const SECOND_PAD = 0;

/** A component with its configuration and weights, wherever they come from. */
export interface OpenComponent {
  readonly config: Config;
  readonly weights: WeightSource;
}

/** SDXL's second text encoder. */
export interface OpenSecond extends OpenComponent {
  readonly tokenizer: Tokenizer | undefined;
  readonly zerosForNoPrompt: boolean;
}

/** A model whose files are open and whose weights have not been read. */
export interface OpenModel {
  readonly name: string;
  readonly textEncoder: OpenComponent;
  /** Of SDXL. */
  readonly second?: OpenSecond | undefined;
  readonly unet: OpenComponent;
  /** Undefined where a model may be without. */
  readonly vae: OpenComponent | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly scheduler: Json;
}
