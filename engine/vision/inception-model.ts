import type { Shape } from "../../kernels/kernel.ts";
import { FormatError, quote } from "../formats/errors.ts";
import type { FileSystem } from "../formats/file-system.ts";
import { openTensorPath } from "../formats/open.ts";
import { Layers } from "../nn/layers.ts";
import { NotedWeights } from "../nn/noted-weights.ts";
import { Parameters, type WeightSource } from "../nn/parameters.ts";
import { ProgramCache, type Recording } from "../nn/program-cache.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import { weightSource } from "../nn/weight-source.ts";
import type { Device } from "../runtime/device.ts";
import { Graph } from "../runtime/graph.ts";
import type { Program } from "../runtime/program.ts";
import { type BatchNormNames, foldBatchNorm } from "./batch-norm.ts";
import {
  INCEPTION_CLASSES, INCEPTION_SIZE, INCEPTION_VARIANTS, type InceptionDims, type InceptionOutputs, type InceptionVariant, inceptionV3,
} from "./inception.ts";

/** torchvision's BasicConv2d. */
const NAMES: BatchNormNames = { convolution: "conv", norm: "bn", epsilon: 1e-3 };
const NORM_TENSORS = ["weight", "bias", "running_mean", "running_var"] as const;

/** What each variant's file is called where it is published. */
const PUBLISHED: Readonly<Record<InceptionVariant, string>> = {
  fid: "pt_inception-2015-12-05-6726825d.pth (pytorch-fid's releases)",
  torchvision: "inception_v3_google-0cc3c7bd.pth (torchvision, IMAGENET1K_V1)",
};

/** Every tensor that a variant's file must hold, with its shape: what the network itself asks for, with batch norms of their own. */
export function inceptionTensors(variant: InceptionVariant): Map<string, Shape> {
  const noted = new NotedWeights();
  const g = new Graph();
  inceptionV3(new Layers(g, noted), variant, g.input("image", { shape: [1, INCEPTION_SIZE, INCEPTION_SIZE, 3], dtype: "f32" }));
  const tensors = new Map<string, Shape>();
  const ending = `.${NAMES.convolution}.weight`;
  for (const [name, shape] of noted.shapes) {
    if (name.endsWith(`.${NAMES.convolution}.bias`)) continue; // made of the norm
    tensors.set(name, shape);
    if (!name.endsWith(ending)) continue;
    for (const part of NORM_TENSORS) tensors.set(`${name.slice(0, -ending.length)}.${NAMES.norm}.${part}`, [shape[0]!]);
  }
  return tensors;
}

/** Inception v3 on a device: batches of prepared pictures to features. */
export class Inception {
  private readonly programs: ProgramCache;
  private readonly parameters: Parameters;

  /** @param weights with batch norms as the files have them: the tensors of `inceptionTensors` */
  constructor(
    readonly device: Device,
    readonly variant: InceptionVariant,
    weights: WeightSource,
    precision?: WeightPrecision,
  ) {
    this.parameters = new Parameters("inception", device, foldBatchNorm(weights, NAMES), precision);
    this.programs = new ProgramCache(device, [this.parameters]);
  }

  /**
   * Features [B, dims] of pictures [B, 299, 299, 3], normalised as their recipe says and channels last: means over all positions.
   * Source: pytorch-fid 0.3.0 fid_score.py:128-141
   */
  features(pictures: Float32Array<ArrayBuffer>, dims: InceptionDims): Promise<Float32Array<ArrayBuffer>> {
    return this.run(`features ${dims}`, pictures, ({ features }) => features[dims]);
  }

  /** Logits [B, classes] of such pictures. */
  logits(pictures: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    return this.run("logits", pictures, ({ logits }) => logits);
  }

  private async run(
    what: string,
    pictures: Float32Array<ArrayBuffer>,
    output: (outputs: InceptionOutputs) => InceptionOutputs["logits"],
  ): Promise<Float32Array<ArrayBuffer>> {
    const batch = pictures.length / (INCEPTION_SIZE * INCEPTION_SIZE * 3);
    const program = await this.programs.get(`inception ${what} ${batch}`, (g) => ({
      outputs: { wanted: output(this.record(g, batch)) },
    }));
    return program.computeFloats({ image: pictures }, "wanted");
  }

  /** The network on a graph with an input "image" [B, 299, 299, 3]; its blocks are captured. */
  record(g: Graph, batch: number): InceptionOutputs {
    const image = g.input("image", { shape: [batch, INCEPTION_SIZE, INCEPTION_SIZE, 3], dtype: "f32" });
    return inceptionV3(new Layers(g, this.parameters), this.variant, image);
  }

  /** A program made of `record`, kept for its key. @throws as ProgramCache.get */
  program(key: string, record: Recording): Promise<Program> {
    return this.programs.get(key, record);
  }

  /** Frees its programs and weights and closes its file. */
  destroy(): Promise<void> {
    return this.programs.destroy();
  }
}

/**
 * Opens a file of Inception v3's weights, FID's (`pt_inception-2015-12-05-6726825d.pth`) or torchvision's, PyTorch or safetensors.
 * @param variant which of the two it must be
 * @throws FormatError naming file and tensor for any other file
 */
export async function loadInception(
  device: Device,
  { files, path }: { readonly files: FileSystem; readonly path: string },
  options: { readonly variant: InceptionVariant; readonly weights?: WeightPrecision | undefined },
): Promise<Inception> {
  const { variant } = options;
  const file = await openTensorPath(files, path);
  try {
    const shapeOf = (tensor: string): Shape | undefined => file.entries.get(tensor)?.shape;
    const classes = shapeOf("fc.weight")?.[0];
    const other = INCEPTION_VARIANTS.find((v) => v !== variant && INCEPTION_CLASSES[v] === classes);
    const wanted = `the recipe needs Inception v3 as in ${PUBLISHED[variant]}`;
    if (other && shapeOf("Mixed_7c.branch1x1.conv.weight")) {
      throw new FormatError(file.name, `is Inception v3 with ${classes} classes, as in ${PUBLISHED[other]}; ${wanted}`);
    }
    for (const [tensor, shape] of inceptionTensors(variant)) {
      const found = shapeOf(tensor);
      if (found?.join() === shape.join()) continue;
      const problem = found
        ? `tensor ${quote(tensor)} has shape [${found.join(", ")}], not [${shape.join(", ")}]`
        : `has no tensor ${quote(tensor)}`;
      throw new FormatError(file.name, `${problem}; ${wanted}`);
    }
    return new Inception(device, variant, weightSource(file), options.weights);
  } catch (error) {
    await file.close();
    throw error;
  }
}
