import { softmax } from "../../kernels/softmax.ts";
import { openWeights, readConfig, readOptionalConfig } from "../formats/diffusers.ts";
import { joinPath } from "../formats/file-system.ts";
import type { RgbImage } from "../formats/image.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import { Graph } from "../runtime/graph.ts";
import { Program } from "../runtime/program.ts";
import { type NDArray, expectShape, toChannelsLast } from "./array.ts";
import { foldBatchNorm } from "./batch-norm.ts";
import { type ResNetConfig, resNet, resNetConfig } from "./classifier.ts";
import { Config } from "./config.ts";
import { Layers } from "./layers.ts";
import { type ModelSource, weightSource } from "./load.ts";
import { Parameters, lookup } from "./parameters.ts";
import { type Preprocessor, preprocessor } from "./preprocess.ts";

export interface Classification {
  /** The most probable label and its probability. */
  readonly label: string;
  readonly score: number;
  /** By class number. */
  readonly probabilities: Float32Array<ArrayBuffer>;
}

/** An image classifier on a device, with its own preprocessing. */
export class ImageClassifier {
  private readonly programs = new Map<string, Promise<Program>>();

  constructor(
    private readonly device: Device,
    private readonly config: ResNetConfig,
    private readonly parameters: Parameters,
    private readonly prepare: Preprocessor,
  ) {}

  get labels(): readonly string[] {
    return this.config.labels;
  }

  /** Class number of a label, compared without case. @throws InputError listing close labels if there is none such. */
  labelIndex(label: string): number {
    const wanted = label.trim().toLowerCase();
    const matches = this.labels.flatMap((l, i) => (l.toLowerCase() === wanted || l.toLowerCase().split(", ").includes(wanted) ? [i] : []));
    if (matches.length === 1) return matches[0]!;
    const near = this.labels.filter((l) => l.toLowerCase().includes(wanted.slice(0, 4)));
    const some = (near.length > 0 ? near : this.labels).slice(0, 8).join("; ");
    throw new InputError(`the classifier has ${matches.length === 0 ? "no" : "more than one"} label "${label}" among its ${this.labels.length}: ${some}...`);
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
    expectShape("classifier input", input, [undefined, this.config.channels, undefined, undefined]);
    const [batch, channels, height, width] = input.shape as [number, number, number, number];
    const key = `classify ${batch}x${height}x${width}`;
    let program = this.programs.get(key);
    if (!program) this.programs.set(key, (program = this.make(key, [batch, height, width, channels])));
    const made = await program;
    made.run({ image: toChannelsLast(input) });
    const read = await made.read("logits", "probabilities");
    return { logits: read["logits"] as Float32Array<ArrayBuffer>, probabilities: read["probabilities"] as Float32Array<ArrayBuffer> };
  }

  private async make(label: string, shape: readonly number[]): Promise<Program> {
    const graph = new Graph();
    const logits = resNet(new Layers(graph, this.parameters), this.config, graph.input("image", { shape, dtype: "f32" }));
    await this.parameters.load();
    return Program.create(this.device, graph, { outputs: { logits, probabilities: softmax(graph, logits) }, parameters: lookup(this.parameters), label });
  }

  async destroy(): Promise<void> {
    for (const p of await Promise.allSettled(this.programs.values())) if (p.status === "fulfilled") p.value.destroy();
    this.parameters.destroy();
  }
}

/** Opens a classifier folder (config.json, weights, preprocessor_config.json). @throws FormatError or InputError naming the file and field. */
export async function loadClassifier(device: Device, { files, folder }: ModelSource): Promise<ImageClassifier> {
  const file = joinPath(folder, "config.json");
  const config = Config.of(file, await readConfig(files, folder));
  const type = config.get("model_type");
  if (type !== "resnet") throw new InputError(`${file}: "model_type" is ${JSON.stringify(type)}; supported is "resnet"`);
  const settings = (await readOptionalConfig(files, folder, "preprocessor_config.json")) ?? {};
  const weights = foldBatchNorm(weightSource(await openWeights(files, folder)));
  const prepare = preprocessor(Config.of(joinPath(folder, "preprocessor_config.json"), settings));
  return new ImageClassifier(device, resNetConfig(config), new Parameters("classifier", device, weights), prepare);
}
