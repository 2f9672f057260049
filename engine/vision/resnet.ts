import { averagePool } from "../../kernels/average-pool.ts";
import { maxPool } from "../../kernels/max-pool.ts";
import { relu } from "../../kernels/activation.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { readLabels } from "../formats/diffusers.ts";
import { InputError } from "../runtime/errors.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";

export interface ResNetConfig {
  readonly channels: number;
  readonly embeddingSize: number;
  readonly hiddenSizes: readonly number[];
  readonly depths: readonly number[];
  readonly bottleneck: boolean;
  readonly downsampleInFirstStage: boolean;
  readonly downsampleInBottleneck: boolean;
  readonly labels: readonly string[];
}

const BOTTLENECK_REDUCTION = 4;

/** From a Hugging Face ResNetConfig. @throws InputError naming the field. */
export function resNetConfig(config: Config): ResNetConfig {
  const hiddenSizes = config.sizes("hidden_sizes");
  const depths = config.sizes("depths");
  if (depths.length !== hiddenSizes.length) {
    throw new InputError(`${config.file}: "depths" has ${depths.length} stages, "hidden_sizes" ${hiddenSizes.length}`);
  }
  config.oneOf("hidden_act", ["relu"], "relu");
  return {
    channels: config.size("num_channels", 3),
    embeddingSize: config.size("embedding_size", 64),
    hiddenSizes,
    depths,
    bottleneck: config.oneOf("layer_type", ["basic", "bottleneck"], "bottleneck") === "bottleneck",
    downsampleInFirstStage: config.flag("downsample_in_first_stage", false),
    downsampleInBottleneck: config.flag("downsample_in_bottleneck", false),
    labels: readLabels(config.file, { id2label: config.get("id2label") }),
  };
}

/**
 * ResNetForImageClassification of transformers, in inference: image [B, H, W, 3] (normalised) to logits [B, classes].
 * Batch norms are folded into the convolutions before them when the weights are read (`foldBatchNorm`), so each
 * convolution here has a bias and a weight of the folded names.
 */
export function resNet(layers: Layers, config: ResNetConfig, image: Value): Value {
  if (image.type.shape.length !== 4 || image.type.shape[3] !== config.channels) {
    throw new ShapeError("resNet", `image must be [batch, height, width, ${config.channels}], got ${formatType(image.type)}`);
  }
  const pooled = layers.at("resnet", () => {
    let h = layers.at("embedder.embedder", () =>
      layers.conv("convolution", image, config.embeddingSize, { kernel: 7, stride: 2, activation: "relu" }),
    );
    h = maxPool(layers.g, h, { kernel: 3, stride: 2, padding: 1 });
    config.hiddenSizes.forEach((out, stage) => {
      const stride = stage === 0 && !config.downsampleInFirstStage ? 1 : 2;
      h = layers.at(`encoder.stages.${stage}`, () => {
        for (let i = 0; i < config.depths[stage]!; i++) {
          h = layers.at(`layers.${i}`, () =>
            (config.bottleneck ? bottleneckLayer : basicLayer)(layers, config, h, out, i === 0 ? stride : 1),
          );
        }
        return h;
      });
    });
    return averagePool(layers.g, h);
  });
  return layers.linear("classifier.1", pooled, config.labels.length);
}

function shortcut(layers: Layers, x: Value, out: number, stride: number): Value {
  if (x.type.shape[3] === out && stride === 1) return x;
  return layers.at("shortcut", () => layers.conv("convolution", x, out, { kernel: 1, stride }));
}

function basicLayer(layers: Layers, _config: ResNetConfig, x: Value, out: number, stride: number): Value {
  const h = layers.at("layer.0", () => layers.conv("convolution", x, out, { stride, activation: "relu" }));
  const residual = shortcut(layers, x, out, stride);
  return relu(layers.g, layers.at("layer.1", () => layers.conv("convolution", h, out, { residual })));
}

function bottleneckLayer(layers: Layers, config: ResNetConfig, x: Value, out: number, stride: number): Value {
  const reduced = out / BOTTLENECK_REDUCTION;
  const [first, second] = config.downsampleInBottleneck ? [stride, 1] : [1, stride];
  let h = layers.at("layer.0", () => layers.conv("convolution", x, reduced, { kernel: 1, stride: first, activation: "relu" }));
  h = layers.at("layer.1", () => layers.conv("convolution", h, reduced, { stride: second, activation: "relu" }));
  const residual = shortcut(layers, x, out, stride);
  return relu(layers.g, layers.at("layer.2", () => layers.conv("convolution", h, out, { kernel: 1, residual })));
}
