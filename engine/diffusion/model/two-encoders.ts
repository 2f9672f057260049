/**
 * Stable Diffusion XL's text encoders. Source: diffusers 0.21 pipeline_stable_diffusion_xl.py:283-378, transformers 4.33 modeling_clip.py
 * (CLIPTextModelWithProjection).
 */
import { concat } from "../../../kernels/concat.ts";
import { add } from "../../../kernels/elementwise.ts";
import { embedding } from "../../../kernels/embedding.ts";
import { endOfText } from "../../../kernels/end-of-text.ts";
import { gatherRows } from "../../../kernels/gather-rows.ts";
import { ShapeError, type Value } from "../../../kernels/kernel.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { pad, slice } from "../../../kernels/slice.ts";
import type { Config } from "../../nn/config.ts";
import { Layers } from "../../nn/layers.ts";
import type { Graph } from "../../runtime/graph.ts";
import { hiddenStates, timesTokenTable } from "../text-encoder.ts";
import { type TextEncoderPart, type TextModel, tableOf } from "./text-model.ts";

/** The second encoder, and how its tokenizer pads. */
export interface ProjectedEncoderPart extends TextEncoderPart {
  /** Width of the pooled output. */
  readonly projectionWidth: number;
  /** Of the first tokenizer: the id that ends a prompt; the ids up to it are the same for both. */
  readonly eosId: number;
  readonly padId: number;
}

/** From a CLIPTextModelWithProjection's config. @throws InputError naming the field */
export function projectionWidth(config: Config): number {
  return config.size("projection_dim", 512);
}

/**
 * Two encoders as one. An encoding is f32 [B, T + 1, D]: for each token both encoders' states before their last layer, without the final
 * norm, side by side; and in a last row the second encoder's projected output at the prompt's end (`text_embeds`), filled up with zeros.
 * So whoever stacks, blends, compares or keeps encodings has both, and the UNet takes them apart (`textProducts`).
 */
export class TwoEncoders implements TextModel {
  constructor(readonly first: TextEncoderPart, readonly second: ProjectedEncoderPart) {}

  get vocabularySize(): number {
    return this.first.config.vocabularySize;
  }

  get tokenWidths(): readonly [number, number] {
    return [this.first.config.hiddenSize, this.second.config.hiddenSize];
  }

  get tokenWidth(): number {
    return this.first.config.hiddenSize + this.second.config.hiddenSize;
  }

  encodingRows(tokens: number): number {
    return tokens + 1;
  }

  tokenRows(g: Graph, ids: Value): Value {
    return concat(g, embedding(g, tableOf(g, this.first), ids), embedding(g, tableOf(g, this.second), ids));
  }

  embeddings(g: Graph, ids: Value, second: Value = ids): Value {
    const own = this.ended(g, second).ids;
    return concat(g, embedding(g, tableOf(g, this.first), ids), embedding(g, tableOf(g, this.second), own));
  }

  encode(g: Graph, embeddings: Value, ids?: Value): Value {
    if (!ids) throw new ShapeError("text encoders", "the ids of the prompts are needed, by which the second encoder finds their end");
    const [x1, x2] = this.halves(g, embeddings);
    const { first, second } = this;
    const states = hiddenStates(new Layers(g, first.parameters), first.config, x1, first.config.layers - 1).at(-1)!;
    const { penultimate, pooled } = projectedEncoder(new Layers(g, second.parameters), second, x2, this.ended(g, ids).position);
    const tokens = concat(g, states, penultimate);
    const [batch, , width] = tokens.type.shape as [number, number, number];
    const last = reshape(g, pad(g, pooled, 1, 0, width - second.projectionWidth), [batch, 1, width]);
    return concat(g, tokens, last, 1);
  }

  timesTable(g: Graph, x: Value): Value {
    const [x1, x2] = this.halves(g, x);
    return add(g, timesTokenTable(g, x1, tableOf(g, this.first)), timesTokenTable(g, x2, tableOf(g, this.second)));
  }

  /** What of embeddings [.., tokenWidth] is each encoder's. */
  private halves(g: Graph, x: Value): [Value, Value] {
    const [width1, width2] = this.tokenWidths;
    return [slice(g, x, 0, width1), slice(g, x, width1, width2)];
  }

  /** Framed prompts as the second tokenizer pads them, and where each ends. */
  private ended(g: Graph, ids: Value): ReturnType<typeof endOfText> {
    const { eosId: end, padId } = this.second;
    return endOfText(g, ids, { end, pad: padId, limit: this.vocabularySize });
  }
}

/**
 * CLIPTextModelWithProjection: token embeddings [B, T, hidden] to the states before the last layer [B, T, hidden] and the projected output
 * [B, projectionWidth] of the last layer and the final norm at `position`, u32 [B], flat over [B, T].
 */
export function projectedEncoder(
  layers: Layers,
  { config, projectionWidth: width }: Pick<ProjectedEncoderPart, "config" | "projectionWidth">,
  embeddings: Value,
  position: Value,
): { readonly penultimate: Value; readonly pooled: Value } {
  const { g } = layers;
  const states = hiddenStates(layers, config, embeddings);
  const [penultimate, last] = states.slice(-2) as [Value, Value];
  const [batch, length, hidden] = last.type.shape as [number, number, number];
  const end = gatherRows(g, reshape(g, last, [1, batch * length, hidden]), position);
  const normed = layers.at("text_model", () => layers.layerNorm("final_layer_norm", end, config.epsilon));
  return { penultimate, pooled: layers.linear("text_projection", normed, width, { bias: false }) };
}
