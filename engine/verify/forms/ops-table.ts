import { type ActivationKind, activation, silu } from "../../../kernels/activation.ts";
import { attention } from "../../../kernels/attention.ts";
import { conv2d } from "../../../kernels/conv2d.ts";
import { embedding } from "../../../kernels/embedding.ts";
import { geglu } from "../../../kernels/geglu.ts";
import { groupNorm } from "../../../kernels/group-norm.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { layerNorm } from "../../../kernels/layer-norm.ts";
import { l1Loss, mseLoss } from "../../../kernels/loss.ts";
import { linear } from "../../../kernels/matmul.ts";
import { softmax } from "../../../kernels/softmax.ts";
import { upsampleNearest } from "../../../kernels/upsample.ts";
import {
  crossAttention,
  downsample,
  feedForward,
  resnetBlock,
  selfAttention,
  timeEmbedding,
  transformer2d,
  transformerBlock,
  upsample,
} from "../../nn/blocks.ts";
import type { Layers } from "../../nn/layers.ts";
import type { WeightLayout } from "../../nn/weight-layout.ts";
import { encoderLayer } from "../../diffusion/text-encoder.ts";
import { vaeAttention } from "../../diffusion/vae.ts";
import type { Case, Golden } from "../golden.ts";
import { NUMBER, numbersIn } from "../words.ts";

/** What an op's recipe works with: the case, its input tensors on the graph (channels-last), and its weights. */
export interface OpCase {
  readonly golden: Golden;
  readonly case: Case;
  readonly layers: Layers;
  /** An input by its name in the file. @throws Error if the case has none of that name */
  input(name: string): Value;
  /** A weight by its name in the file ("w", "p.proj.weight"), or undefined if the case has none. */
  weight(name: string, layout?: WeightLayout): Value | undefined;
  /** Stored shape of a tensor of the case. */
  shape(name: string): readonly number[];
}

export interface OpRecipe {
  /** Which of the case's tensors are activations; the others that are not results are weights. */
  readonly inputs: readonly string[];
  /** Module path that the recipe's own layers are recorded below and the file's names lack. */
  readonly prefix?: string;
  /** Rank from which a tensor is stored channels first. */
  readonly channelsFirstFrom?: number;
  readonly build: (c: OpCase) => Value;
}

const unary = (kind: ActivationKind): OpRecipe => ({ inputs: ["x"], build: (c) => activation(c.layers.g, c.input("x"), kind) });

function norm(c: OpCase, withSilu: boolean): Value {
  const options = { groups: c.golden.number("groups", c.case), epsilon: c.golden.number("eps", c.case), silu: withSilu };
  return groupNorm(c.layers.g, c.input("x"), c.weight("w")!, c.weight("b")!, options);
}

/** What a 3x3 convolution of stride 2 makes of a side that is padded by `pad` in all. */
function halved(side: number, pad: number): number {
  return Math.floor((side + pad - 3) / 2) + 1;
}

/**
 * Padding of diffusers' Downsample2D: right and bottom in the VAE, all sides in the UNet. Sizes tell where they can, the case's name
 * otherwise.
 */
function downsamplePadding(c: OpCase): number | readonly [number, number, number, number] {
  const [, , height, width] = c.shape("x") as [number, number, number, number];
  const [, , outHeight, outWidth] = c.shape("y") as [number, number, number, number];
  const symmetric = halved(height, 2) === outHeight && halved(width, 2) === outWidth;
  const oneSided = halved(height, 1) === outHeight && halved(width, 1) === outWidth;
  return oneSided && (!symmetric || /vae|asym/i.test(`${c.case.name} ${String(c.case["words"])}`)) ? [0, 1, 0, 1] : 1;
}

/** A norm's epsilon as the case states it, in its field `eps` or its `words`; the module's own default where it does not. */
function epsilon(c: OpCase, byDefault: number): number {
  if (c.case["eps"] !== undefined) return c.golden.number("eps", c.case);
  return numbersIn(String(c.case["words"]), String.raw`\beps\s*=?\s*${NUMBER}`)?.[0] ?? byDefault;
}

/** @throws Error if a case states another epsilon than the one that a module always has */
function requireEpsilon(c: OpCase, own: number): void {
  const stated = epsilon(c, own);
  if (stated !== own) throw new Error(`made with epsilon ${stated}, this module always has ${own}`);
}

function blockCount(c: OpCase): number {
  const numbers = c.golden.names().flatMap((n) => new RegExp(`^${c.case.name}/p\\.transformer_blocks\\.(\\d+)\\.`).exec(n)?.[1] ?? []);
  return new Set(numbers).size;
}

/** Keys and values of the cross attentions at these module paths, for the case's text. */
function text(c: OpCase, paths: readonly string[]): Map<string, Value> {
  const names = paths.flatMap((path) => [`${path}.to_k`, `${path}.to_v`]);
  return new Map(
    names.map((name) => [name, c.layers.linear(name, c.input("ctx"), c.shape(`p.${name.slice("m.".length)}.weight`)[0]!, { bias: false })]),
  );
}

/** How each op and module of the references is recorded, by the `op` of its case. */
export const OP_RECIPES: Readonly<Record<string, OpRecipe>> = {
  conv2d: {
    inputs: ["x"],
    build(c) {
      const order = c.golden.text("padding_order", c.case).split(",");
      const stored = c.golden.numbers("padding", c.case);
      const side = (name: string): number => stored[order.indexOf(name)] ?? 0;
      return conv2d(c.layers.g, c.input("x"), c.weight("w", "conv")!, {
        bias: c.weight("b"),
        stride: c.golden.number("stride", c.case),
        padding: [side("top"), side("bottom"), side("left"), side("right")],
      });
    },
  },
  Downsample2D: { inputs: ["x"], prefix: "m", build: (c) => downsample(c.layers, "m", c.input("x"), downsamplePadding(c)) },
  Upsample2D: { inputs: ["x"], prefix: "m", build: (c) => upsample(c.layers, "m", c.input("x")) },
  linear: { inputs: ["x"], build: (c) => linear(c.layers.g, c.input("x"), c.weight("w", "linear")!, { bias: c.weight("b") }) },
  group_norm: { inputs: ["x"], channelsFirstFrom: 3, build: (c) => norm(c, false) },
  group_norm_silu: { inputs: ["x"], channelsFirstFrom: 3, build: (c) => norm(c, true) },
  layer_norm: {
    inputs: ["x"],
    build: (c) => layerNorm(c.layers.g, c.input("x"), c.weight("w")!, c.weight("b")!, { epsilon: c.golden.number("eps", c.case) }),
  },
  softmax: { inputs: ["x"], build: (c) => softmax(c.layers.g, c.input("x")) },
  gelu: unary("gelu"),
  quick_gelu: unary("quickGelu"),
  silu: unary("silu"),
  relu: unary("relu"),
  GEGLU: {
    inputs: ["x"],
    build: (c) =>
      geglu(c.layers.g, linear(c.layers.g, c.input("x"), c.weight("p.proj.weight", "linear")!, { bias: c.weight("p.proj.bias") })),
  },
  upsample_nearest2x: { inputs: ["x"], build: (c) => upsampleNearest(c.layers.g, c.input("x")) },
  embedding: { inputs: ["ids"], build: (c) => embedding(c.layers.g, c.weight("w")!, c.input("ids")) },
  TimestepEmbedding: {
    inputs: ["x"],
    prefix: "time_embedding",
    build: (c) => timeEmbedding(c.layers, c.input("x"), c.shape("p.linear_1.weight")[0]!),
  },
  mse_loss: { inputs: ["a", "b"], build: (c) => mseLoss(c.layers.g, c.input("a"), c.input("b")) },
  l1_loss: { inputs: ["a", "b"], build: (c) => l1Loss(c.layers.g, c.input("a"), c.input("b")) },
  attention: {
    inputs: ["q", "k", "v"],
    build: (c) =>
      attention(c.layers.g, c.input("q"), c.input("k"), c.input("v"), {
        heads: c.golden.number("heads", c.case),
        causal: c.case["causal"] === true,
      }),
  },
  Attention: {
    inputs: ["x", "ctx"],
    prefix: "m",
    build(c) {
      const heads = c.golden.number("heads", c.case);
      const keysValues = c.golden.has(`${c.case.name}/ctx`) ? text(c, ["m"]) : undefined;
      return c.layers.at("m", () =>
        keysValues ? crossAttention(c.layers, c.input("x"), keysValues, heads) : selfAttention(c.layers, c.input("x"), heads),
      );
    },
  },
  "Attention (VAE mid block)": {
    inputs: ["x"],
    prefix: "m",
    build(c) {
      requireEpsilon(c, 1e-6);
      return c.layers.at("m", () => vaeAttention(c.layers, { groups: c.golden.number("groups", c.case) }, c.input("x")));
    },
  },
  FeedForward: { inputs: ["x"], prefix: "m", build: (c) => c.layers.at("m", () => feedForward(c.layers, c.input("x"))) },
  BasicTransformerBlock: {
    inputs: ["x", "ctx"],
    prefix: "m",
    build(c) {
      const keysValues = text(c, ["m.attn2"]);
      return c.layers.at("m", () => transformerBlock(c.layers, c.input("x"), keysValues, c.golden.number("heads", c.case)));
    },
  },
  Transformer2DModel: {
    inputs: ["x", "ctx"],
    prefix: "m",
    build(c) {
      requireEpsilon(c, 1e-6);
      const blocks = blockCount(c);
      return transformer2d(
        c.layers,
        "m",
        c.input("x"),
        text(
          c,
          Array.from({ length: blocks }, (_, i) => `m.transformer_blocks.${i}.attn2`),
        ),
        {
          heads: c.golden.number("heads", c.case),
          layers: blocks,
          groups: c.golden.number("groups", c.case),
          linearProjection: c.shape("p.proj_in.weight").length === 2,
        },
      );
    },
  },
  ResnetBlock2D: {
    inputs: ["x", "temb"],
    prefix: "m",
    build(c) {
      const out = c.shape("p.conv1.weight")[0]!;
      const time = new Map<string, Value>();
      if (c.golden.has(`${c.case.name}/temb`)) time.set("m", c.layers.linear("m.time_emb_proj", silu(c.layers.g, c.input("temb")), out));
      return resnetBlock(c.layers, "m", c.input("x"), out, time, { groups: c.golden.number("groups", c.case), epsilon: epsilon(c, 1e-5) });
    },
  },
  CLIPEncoderLayer: {
    inputs: ["x"],
    prefix: "m",
    build(c) {
      const config = {
        hiddenSize: c.shape("x").at(-1)!,
        intermediateSize: c.shape("p.mlp.fc1.weight")[0]!,
        heads: c.golden.number("heads", c.case),
        epsilon: epsilon(c, 1e-5),
        activation: /quick_gelu/.test(`${String(c.case["words"])}`) ? ("quickGelu" as const) : ("gelu" as const),
      };
      return c.layers.at("m", () => encoderLayer(c.layers, config, c.input("x")));
    },
  },
};
