import { attention } from "../../kernels/attention.ts";
import { broadcastAdd } from "../../kernels/broadcast.ts";
import { concat } from "../../kernels/concat.ts";
import { embedding } from "../../kernels/embedding.ts";
import { type Value, ShapeError, formatType } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { slice } from "../../kernels/slice.ts";
import type { Graph } from "../runtime/graph.ts";
import { queriesKeysValues } from "../nn/blocks.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";

export interface TextEncoderConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly maxLength: number;
  readonly epsilon: number;
  readonly activation: "quickGelu" | "gelu";
}

/** From a Hugging Face CLIPTextConfig. @throws InputError naming the field. */
export function textEncoderConfig(config: Config): TextEncoderConfig {
  const activation = config.oneOf("hidden_act", ["quick_gelu", "gelu"] as const, "quick_gelu");
  return {
    vocabularySize: config.size("vocab_size", 49408),
    hiddenSize: config.size("hidden_size", 512),
    intermediateSize: config.size("intermediate_size", 2048),
    layers: config.size("num_hidden_layers", 12),
    heads: config.size("num_attention_heads", 8),
    maxLength: config.size("max_position_embeddings", 77),
    epsilon: config.number("layer_norm_eps", 1e-5),
    activation: activation === "gelu" ? "gelu" : "quickGelu",
  };
}

const PREFIX = "text_model.embeddings";

/** Rows of the token table: ids u32 [B, T] to embeddings [B, T, hidden]. */
export function tokenEmbeddings(layers: Layers, config: TextEncoderConfig, ids: Value): Value {
  return embedding(layers.g, tokenTable(layers, config), ids);
}

/** The token table [vocabulary, hidden], in blocks of rows where the device cannot bind it whole. */
export function tokenTable(layers: Layers, config: TextEncoderConfig): readonly [Value, ...Value[]] {
  return layers.parameters.table(layers.g, `${PREFIX}.token_embedding.weight`, [config.vocabularySize, config.hiddenSize]);
}

/** Rows x [k, hidden] times every row of the token table: [k, vocabulary]. */
export function timesTokenTable(g: Graph, x: Value, table: readonly [Value, ...Value[]]): Value {
  const [first, ...rest] = table.map((block) => matmul(g, x, block, { transposeB: true })) as [Value, ...Value[]];
  return rest.reduce((joined, block) => concat(g, joined, block), first);
}

/**
 * CLIP's text transformer: token embeddings [B, T, hidden] to the last hidden state [B, T, hidden], after the final layer norm.
 * Causal mask only; padding is attended to. Captures `text_model.hidden_states.i` (0: with positions, i: after layer i).
 * Follows transformers' CLIPTextTransformer.
 * @throws ShapeError if T is more than the model has positions.
 */
export function textEncoder(layers: Layers, config: TextEncoderConfig, embeddings: Value): Value {
  const last = hiddenStates(layers, config, embeddings).at(-1)!;
  return layers.at("text_model", () => layers.layerNorm("final_layer_norm", last, config.epsilon));
}

/**
 * The hidden states of the first `count` layers, [B, T, hidden] each: with positions, then after each layer, without the final norm.
 * @throws ShapeError as `textEncoder`
 */
export function hiddenStates(layers: Layers, config: TextEncoderConfig, embeddings: Value, count = config.layers): Value[] {
  const { g } = layers;
  const length = embeddings.type.shape[1]!;
  if (embeddings.type.shape.length !== 3 || length > config.maxLength) {
    throw new ShapeError(
      "textEncoder",
      `embeddings must be [batch, up to ${config.maxLength}, ${config.hiddenSize}], got ${formatType(embeddings.type)}`,
    );
  }
  const positions = layers.weight(`${PREFIX}.position_embedding.weight`, [config.maxLength, config.hiddenSize]);
  let x = broadcastAdd(g, embeddings, length === config.maxLength ? positions : slice(g, positions, 0, length, 0));
  const states = [x];
  return layers.at("text_model", () => {
    g.capture("hidden_states.0", x);
    for (let i = 0; i < count; i++) {
      x = layers.at(`encoder.layers.${i}`, () => g.recompute(() => encoderLayer(layers, config, x)));
      g.capture(`hidden_states.${i + 1}`, x);
      states.push(x);
    }
    return states;
  });
}

/**
 * CLIPEncoderLayer of transformers: self attention (causal in the text encoder) and a two-layer perceptron, each after a layer norm and
 * with a residual. x [B, T, hidden].
 */
export function encoderLayer(
  layers: Layers,
  config: Pick<TextEncoderConfig, "hiddenSize" | "intermediateSize" | "heads" | "epsilon" | "activation">,
  x: Value,
  causal = true,
): Value {
  const { g } = layers;
  const hidden = config.hiddenSize;
  const normed = layers.layerNorm("layer_norm1", x, config.epsilon);
  const attended = layers.at("self_attn", () => {
    const [q, k, v] = queriesKeysValues(layers, normed, ["q_proj", "k_proj", "v_proj"], config.heads, true);
    return layers.linear("out_proj", attention(g, q, k, v, { heads: config.heads, causal }), hidden, { residual: x });
  });
  const normed2 = layers.layerNorm("layer_norm2", attended, config.epsilon);
  return layers.at("mlp", () => {
    const inner = layers.linear("fc1", normed2, config.intermediateSize, { activation: config.activation });
    return layers.linear("fc2", inner, hidden, { residual: attended });
  });
}
