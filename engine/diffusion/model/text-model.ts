import { embedding } from "../../../kernels/embedding.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { Layers } from "../../nn/layers.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { Graph } from "../../runtime/graph.ts";
import { type TextEncoderConfig, textEncoder, timesTokenTable, tokenTable } from "../text-encoder.ts";

/** One text encoder, opened. */
export interface TextEncoderPart {
  readonly config: TextEncoderConfig;
  readonly parameters: Parameters;
}

/** The rows of a token table, in blocks where the device cannot bind it whole. */
export type TokenTable = readonly [Value, ...Value[]];

/**
 * How a model reads prompts: one text encoder, or SDXL's two seen as one. A token's embedding is then that of both tables side by side, so
 * that whoever searches or learns embeddings need not know how many encoders there are.
 */
export interface TextModel {
  /** Tokens of the vocabulary and numbers of a token's embedding, of all encoders together. */
  readonly vocabularySize: number;
  readonly tokenWidth: number;
  /** The same of each encoder. */
  readonly tokenWidths: readonly number[];
  /** Rows of the encoding of a prompt of so many tokens. */
  encodingRows(tokens: number): number;
  /** Rows of the token table for ids u32 [..]: f32 [.., tokenWidth]. Zeros for an id outside the vocabulary. */
  tokenRows(g: Graph, ids: Value): Value;
  /** Token embeddings of framed prompts, u32 [B, T]: f32 [B, T, tokenWidth]. @param second other ids for a second encoder */
  embeddings(g: Graph, ids: Value, second?: Value): Value;
  /**
   * The encoding [B, rows, D] of token embeddings.
   * @param ids the framed prompts; SDXL finds their end by them @throws ShapeError without ids where they are needed
   */
  encode(g: Graph, embeddings: Value, ids?: Value): Value;
  /** Rows x [k, tokenWidth] times every row of the token table: [k, vocabulary]. */
  timesTable(g: Graph, x: Value): Value;
}

/** The text encoder of Stable Diffusion 1.x and 2.x: the encoding is its last hidden state. */
export class OneEncoder implements TextModel {
  constructor(private readonly part: TextEncoderPart) {}

  get vocabularySize(): number {
    return this.part.config.vocabularySize;
  }

  get tokenWidth(): number {
    return this.part.config.hiddenSize;
  }

  get tokenWidths(): readonly number[] {
    return [this.tokenWidth];
  }

  encodingRows(tokens: number): number {
    return tokens;
  }

  tokenRows(g: Graph, ids: Value): Value {
    return embedding(g, tableOf(g, this.part), ids);
  }

  embeddings(g: Graph, ids: Value): Value {
    return this.tokenRows(g, ids);
  }

  encode(g: Graph, embeddings: Value): Value {
    return textEncoder(new Layers(g, this.part.parameters), this.part.config, embeddings);
  }

  timesTable(g: Graph, x: Value): Value {
    return timesTokenTable(g, x, tableOf(g, this.part));
  }
}

/** The token table [vocabulary, D] of a text encoder, as leaves of the graph. */
export function tableOf(g: Graph, { config, parameters }: TextEncoderPart): TokenTable {
  return tokenTable(new Layers(g, parameters), config);
}
