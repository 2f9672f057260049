import { attentionTakesColumns } from "../../kernels/attention-plan.ts";
import { attention } from "../../kernels/attention.ts";
import { add } from "../../kernels/elementwise.ts";
import type { FusedActivation } from "../../kernels/gemm.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, byteLength, elementCount } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { slice } from "../../kernels/slice.ts";
import { upsampleNearest } from "../../kernels/upsample.ts";
import type { Layers } from "./layers.ts";

/**
 * ResnetBlock2D of diffusers: norm1, SiLU, conv1 (+ time embedding), norm2, SiLU, conv2, plus the input (through a 1x1 convolution when
 * channels change).
 * @param x [B, H, W, C]
 * @param time by the block's module path, what the time embedding adds to its channels, [B, out]; nothing if it is not there
 */
export function resnetBlock(
  layers: Layers,
  name: string,
  x: Value,
  out: number,
  time: ReadonlyMap<string, Value>,
  norm: { groups: number; epsilon: number },
): Value {
  return layers.at(name, () =>
    layers.g.recompute(() => {
      const batchBias = time.get(layers.path(""));
      const h = layers.conv("conv1", layers.groupNorm("norm1", x, { ...norm, silu: true }), out, { batchBias });
      const shortcut = x.type.shape[3] === out ? x : layers.conv("conv_shortcut", x, out, { kernel: 1 });
      return layers.conv("conv2", layers.groupNorm("norm2", h, { ...norm, silu: true }), out, { residual: shortcut });
    }),
  );
}

export interface TransformerOptions {
  readonly heads: number;
  readonly layers: number;
  readonly groups: number;
  /** Linear layers instead of 1x1 convolutions around the blocks (SD 2): the same arithmetic in channels-last. */
  readonly linearProjection: boolean;
}

/**
 * Transformer2DModel of diffusers: group norm (epsilon 1e-6), projection, transformer blocks with cross attention, projection, residual. x
 * [B, H, W, C]; text: see `transformerBlock`.
 */
export function transformer2d(
  layers: Layers,
  name: string,
  x: Value,
  text: ReadonlyMap<string, Value>,
  options: TransformerOptions,
): Value {
  const [batch, height, width, channels] = x.type.shape as [number, number, number, number];
  return layers.at(name, () => {
    const normed = layers.groupNorm("norm", x, { groups: options.groups, epsilon: 1e-6 });
    const sequence = [batch, height * width, channels];
    // The same numbers either way; what is captured has the shape that the reference's projection gives.
    let h = options.linearProjection
      ? layers.linear("proj_in", reshape(layers.g, normed, sequence), channels)
      : reshape(layers.g, layers.linear("proj_in", normed, channels), sequence);
    for (let i = 0; i < options.layers; i++) {
      h = layers.at(`transformer_blocks.${i}`, () => layers.g.recompute(() => transformerBlock(layers, h, text, options.heads)));
    }
    return layers.linear("proj_out", reshape(layers.g, h, x.type.shape), channels, { residual: x });
  });
}

/**
 * BasicTransformerBlock of diffusers, x [B, T, C]: self attention, cross attention and GEGLU feed-forward, each after a layer norm and with
 * a residual.
 * @param text the cross attention's keys and values [B, T', C], by the module paths of to_k and to_v
 */
export function transformerBlock(layers: Layers, x: Value, text: ReadonlyMap<string, Value>, heads: number): Value {
  const epsilon = 1e-5;
  const norm1 = layers.layerNorm("norm1", x, epsilon);
  const selfAttended = withResidual(layers, x, "attn1", (residual) => selfAttention(layers, norm1, heads, residual));
  const norm2 = layers.layerNorm("norm2", selfAttended, epsilon);
  const attended = layers.has("attn2.eraser.down.weight")
    ? add(layers.g, erasedCrossAttention(layers, norm2, text, heads), selfAttended)
    : withResidual(layers, selfAttended, "attn2", (residual) => crossAttention(layers, norm2, text, heads, residual));
  const norm3 = layers.layerNorm("norm3", attended, epsilon);
  return withResidual(layers, attended, "ff", (residual) => feedForward(layers, norm3, residual));
}

/** FeedForward of diffusers, plus the residual if there is one: GEGLU four times as wide, then back. x [B, T, C]. */
export function feedForward(layers: Layers, x: Value, residual?: Value): Value {
  const channels = x.type.shape.at(-1)!;
  const inner = (rows: Value): Value => layers.geglu("net.0.proj", rows, channels * 4);
  const parts = Math.ceil((byteLength(x.type) * 8) / layers.parameters.maxTensorBytes);
  if (parts <= 1) return layers.linear("net.2", inner(x), channels, { residual });
  // Row by row the same, so what would be too large for one tensor (1024 x 1024 pictures) is done a part at a time.
  const count = elementCount(x.type.shape) / channels;
  const perPart = Math.ceil(count / parts);
  const flat = (v: Value, start: number): Value =>
    slice(layers.g, reshape(layers.g, v, [count, channels]), start, Math.min(perPart, count - start), 0);
  let joined: Value | undefined;
  for (let start = 0; start < count; start += perPart) {
    const part = layers.linear("net.2", inner(flat(x, start)), channels, { residual: residual && flat(residual, start) });
    joined = joined ? concat(layers.g, joined, part, 0) : part;
  }
  return reshape(layers.g, joined!, x.type.shape);
}

/** The sub-module's output plus x: fused into its last layer, or, where its own output is to be captured, as an op of its own. */
function withResidual(layers: Layers, x: Value, name: string, body: (residual: Value | undefined) => Value): Value {
  const y = layers.at(name, () => body(layers.fused ? x : undefined));
  return layers.fused ? y : add(layers.g, y, x);
}

/** Attention of diffusers with queries, keys and values of x [B, T, C], plus the residual if there is one; no bias but on the output. */
export function selfAttention(layers: Layers, x: Value, heads: number, residual?: Value): Value {
  const channels = x.type.shape.at(-1)!;
  const [q, k, v] = queriesKeysValues(layers, x, ["to_q", "to_k", "to_v"], heads, false);
  return layers.linear("to_out.0", attention(layers.g, q, k, v, { heads }), channels, { residual });
}

/** The three inputs of a self attention, of x [B, T, C], in one product where attention reads columns of it. */
export function queriesKeysValues(
  layers: Layers,
  x: Value,
  names: readonly [string, string, string],
  heads: number,
  bias: boolean,
): [Value, Value, Value] {
  const channels = x.type.shape.at(-1)!;
  const modules = names.map((name) => ({ name, in: channels, out: channels }));
  const values = attentionTakesColumns(channels / heads)
    ? layers.linears(x, modules, { bias })
    : names.map((name) => layers.linear(name, x, channels, { bias }));
  return values as [Value, Value, Value];
}

/** The same with queries of x [B, T, C] and the keys and values of `text` (see `transformerBlock`). */
export function crossAttention(layers: Layers, x: Value, text: ReadonlyMap<string, Value>, heads: number, residual?: Value): Value {
  const channels = x.type.shape.at(-1)!;
  const q = layers.linear("to_q", x, channels, { bias: false });
  const [k, v] = [text.get(layers.path("to_k"))!, text.get(layers.path("to_v"))!];
  layers.onCrossAttention?.(layers.path(""), q, k, heads);
  return layers.linear("to_out.0", attention(layers.g, q, k, v, { heads }), channels, { residual });
}

/** Cross attention with an adapter behind it, y + up(gelu(down(y))) (Receler, arXiv 2311.17717). */
function erasedCrossAttention(layers: Layers, x: Value, text: ReadonlyMap<string, Value>, heads: number): Value {
  return layers.at("attn2", () => {
    const y = crossAttention(layers, x, text, heads);
    const rank = layers.parameters.storedShape(layers.path("eraser.down.weight"))[0]!;
    return layers.at("eraser", () =>
      layers.linear("up", layers.linear("down", y, rank, { activation: "gelu" }), y.type.shape.at(-1)!, { residual: y }),
    );
  });
}

/** Downsample2D: a strided 3x3 convolution. The VAE pads right and bottom only, the UNet all sides. */
export function downsample(layers: Layers, name: string, x: Value, padding: number | readonly [number, number, number, number]): Value {
  return layers.at(name, () => layers.conv("conv", x, x.type.shape[3]!, { stride: 2, padding }));
}

/** Upsample2D: nearest neighbour (doubled, or to the given size), then a 3x3 convolution. */
export function upsample(layers: Layers, name: string, x: Value, size?: readonly [number, number]): Value {
  return layers.at(name, () => layers.conv("conv", upsampleNearest(layers.g, x, size), x.type.shape[3]!));
}

/** TimestepEmbedding of diffusers: features [B, F] through two linear layers with SiLU between, and `activation` after them. */
export function timeEmbedding(
  layers: Layers,
  features: Value,
  width: number,
  activation: FusedActivation = "none",
  name = "time_embedding",
): Value {
  return layers.at(name, () =>
    layers.linear("linear_2", layers.linear("linear_1", features, width, { activation: "silu" }), width, { activation }),
  );
}
