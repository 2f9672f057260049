import type { Shape, Value } from "../../kernels/kernel.ts";
import { Graph } from "../runtime/graph.ts";
import { type Component, isText } from "./names/locate.ts";
import type { Config } from "../nn/config.ts";
import { Layers } from "../nn/layers.ts";
import { NotedWeights } from "../nn/noted-weights.ts";
import { projectedEncoder, projectionWidth } from "../diffusion/model/two-encoders.ts";
import { textEncoder, textEncoderConfig, tokenEmbeddings } from "../diffusion/text-encoder.ts";
import { unet } from "../diffusion/unet.ts";
import { featureWidth, unetConfig } from "../diffusion/unet-config.ts";
import { vaeConfig, vaeDecode, vaeEncode } from "../diffusion/vae.ts";

/**
 * Every tensor of a component by its configuration, with its shape as a checkpoint stores it (a 1x1 convolution as the linear layer it is):
 * what the model's own code asks for when it is recorded, so the two cannot differ.
 * @throws InputError if the configuration is not one that the engine has
 */
export function expectedTensors(component: Component, config: Config): ReadonlyMap<string, Shape> {
  const noting = new NotedWeights();
  const g = new Graph();
  const layers = new Layers(g, noting, false); // every layer by itself
  const input = (name: string, shape: Shape): Value => g.input(name, { shape, dtype: "f32" });
  if (isText(component)) {
    const c = textEncoderConfig(config);
    const embeddings = tokenEmbeddings(layers, c, g.input("ids", { shape: [1, c.maxLength], dtype: "u32" }));
    const end = g.input("end", { shape: [1], dtype: "u32" });
    if (component === "text_encoder") textEncoder(layers, c, embeddings);
    else projectedEncoder(layers, { config: c, projectionWidth: projectionWidth(config) }, embeddings, end);
  } else if (component === "unet") {
    const c = unetConfig(config);
    const side = 2 ** c.blockOutChannels.length;
    unet(
      layers,
      c,
      input("sample", [1, side, side, c.inChannels]),
      input("features", [1, featureWidth(c)]),
      input("context", [1, 77, c.crossAttentionDim]),
    );
  } else {
    const c = vaeConfig(config);
    vaeEncode(layers, c, input("image", [1, 2 * c.factor, 2 * c.factor, c.inChannels]));
    vaeDecode(layers, c, input("latents", [1, 2, 2, c.latentChannels]));
  }
  return noting.shapes;
}

/** A shape without the 1x1 kernel at its end: a 1x1 convolution's weight and a linear layer's are the same numbers. */
export function withoutUnitKernel(shape: Shape): Shape {
  return shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
}
