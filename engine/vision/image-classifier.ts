import type { Value } from "../../kernels/kernel.ts";
import { softmax } from "../../kernels/softmax.ts";
import { openWeights, readConfig, readOptionalConfig } from "../formats/diffusers.ts";
import { joinPath } from "../formats/file-system.ts";
import { didYouMean } from "../formats/text/near.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import { type NDArray, expectShape, toChannelsLast } from "../nn/array.ts";
import { foldBatchNorm } from "./batch-norm.ts";
import { Config } from "../nn/config.ts";
import { Layers } from "../nn/layers.ts";
import type { ModelSource } from "../formats/model-source.ts";
import { weightSource } from "../nn/weight-source.ts";
import { Parameters, type WeightSource } from "../nn/parameters.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import { type Preprocessor, preprocessor } from "./preprocess.ts";
import { ProgramCache } from "../nn/program-cache.ts";
import { resNet, resNetConfig } from "./resnet.ts";
import { vit, vitConfig } from "./vit.ts";

export interface Classification {
  /** The most probable label and its probability. */
  readonly label: string;
  readonly score: number;
  /** By class number. */
  readonly probabilities: Float32Array<ArrayBuffer>;
}

/** What an architecture has to supply. */
interface Network {
  readonly channels: number;
  readonly labels: readonly string[];
  /** Normalised pictures [B, H, W, channels] to logits [B, classes]. */
  readonly record: (layers: Layers, image: Value) => Value;
}

interface Architecture {
  /** Module whose output the last layer classifies. */
  readonly penultimate: string;
  readonly network: (config: Config) => Network;
  /** What the checkpoint's tensors are changed to before the network sees them. */
  readonly weights?: (source: WeightSource) => WeightSource;
}

/** By "model_type" of config.json. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  resnet: {
    penultimate: "resnet",
    network(file) {
      const config = resNetConfig(file);
      return { ...config, record: (layers, image) => resNet(layers, config, image) };
    },
    weights: (source) => foldBatchNorm(source),
  },
  vit: {
    penultimate: "vit",
    network(file) {
      const config = vitConfig(file);
      return { ...config, record: (layers, image) => vit(layers, config, image) };
    },
  },
};

/** An image classifier on a device, with its own preprocessing. */
export class ImageClassifier {
  private readonly programs: ProgramCache;

  constructor(
    device: Device,
    private readonly network: Network & { readonly penultimate: string },
    private readonly parameters: Parameters,
    private readonly prepare: Preprocessor,
    file: TensorFile,
  ) {
    this.programs = new ProgramCache(device, [parameters], file);
  }

  get labels(): readonly string[] {
    return this.network.labels;
  }

  /** Class number of a label, compared without case. @throws InputError listing close labels if there is none such. */
  labelIndex(label: string): number {
    const wanted = label.trim().toLowerCase();
    const matches = this.labels.flatMap((l, i) => (l.toLowerCase() === wanted || l.toLowerCase().split(", ").includes(wanted) ? [i] : []));
    if (matches.length === 1) return matches[0]!;
    const near = didYouMean(label, this.labels);
    const some = near === "" ? `: ${this.labels.slice(0, 8).join("; ")}${this.labels.length > 8 ? "..." : ""}` : near;
    throw new InputError(
      `the classifier has ${matches.length === 0 ? "no" : "more than one"} label "${label}" among its ${this.labels.length}${some}`,
    );
  }

  /** Probabilities for one picture of any size. */
  async classify(image: RgbImage): Promise<Classification> {
    const { probabilities } = await this.run(this.prepare(image));
    let best = 0;
    probabilities.forEach((p, i) => (best = p > probabilities[best]! ? i : best));
    return { label: this.labels[best]!, score: probabilities[best]!, probabilities };
  }

  /** Logits and probabilities [B, classes] for normalised pictures [B, 3, H, W]. @throws ShapeError */
  async run(input: NDArray): Promise<{ logits: Float32Array<ArrayBuffer>; probabilities: Float32Array<ArrayBuffer> }> {
    expectShape("classifier input", input, [undefined, this.network.channels, undefined, undefined]);
    const [batch, channels, height, width] = input.shape as [number, number, number, number];
    const made = await this.programs.get(`classify ${batch}x${height}x${width}`, (g) => {
      const logits = this.network.record(
        new Layers(g, this.parameters),
        g.input("image", { shape: [batch, height, width, channels], dtype: "f32" }),
      );
      return { outputs: { logits, probabilities: softmax(g, logits) } };
    });
    const read = await made.compute({ image: toChannelsLast(input) }, "logits", "probabilities");
    return { logits: read["logits"] as Float32Array<ArrayBuffer>, probabilities: read["probabilities"] as Float32Array<ArrayBuffer> };
  }

  /**
   * What the last layer classifies, [pictures, width] row by row, of pictures of any size.
   * @throws ShapeError where the preprocessing leaves them of different sizes
   */
  async features(pictures: readonly RgbImage[]): Promise<Float32Array<ArrayBuffer>> {
    const prepared = pictures.map((picture) => this.prepare(picture));
    const [, channels, height, width] = prepared[0]!.shape as [number, number, number, number];
    const size = channels * height * width;
    const batch = new Float32Array(pictures.length * size);
    prepared.forEach((input, i) => {
      expectShape("classifier input", input, [1, channels, height, width]);
      batch.set(toChannelsLast(input), i * size);
    });
    const program = await this.programs.get(`features ${pictures.length}x${height}x${width}`, (g) => {
      const image = g.input("image", { shape: [pictures.length, height, width, channels], dtype: "f32" });
      this.network.record(new Layers(g, this.parameters), image);
      return { outputs: { features: g.captured.get(this.network.penultimate)! } };
    });
    return program.computeFloats({ image: batch }, "features");
  }

  /** Frees its programs and weights and closes its file. */
  destroy(): Promise<void> {
    return this.programs.destroy();
  }
}

/**
 * Opens a classifier folder (config.json, weights, preprocessor_config.json): ResNetForImageClassification or ViTForImageClassification.
 * @throws FormatError or InputError naming the file and field.
 */
export async function loadClassifier(
  device: Device,
  { files, folder }: ModelSource,
  options: { readonly weights?: WeightPrecision } = {},
): Promise<ImageClassifier> {
  const file = joinPath(folder, "config.json");
  const config = Config.of(file, await readConfig(files, folder));
  const architecture = ARCHITECTURES[config.oneOf("model_type", Object.keys(ARCHITECTURES))]!;
  const network = { ...architecture.network(config), penultimate: architecture.penultimate };
  const settings = (await readOptionalConfig(files, folder, "preprocessor_config.json")) ?? {};
  const prepare = preprocessor(Config.of(joinPath(folder, "preprocessor_config.json"), settings));
  const weights = await openWeights(files, folder);
  const stored = weightSource(weights);
  const parameters = new Parameters("classifier", device, architecture.weights?.(stored) ?? stored, options.weights);
  return new ImageClassifier(device, network, parameters, prepare, weights);
}
