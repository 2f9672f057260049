import { type TensorType, type Value, byteLength, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { gradients } from "../runtime/autodiff.ts";
import { pooledBytes } from "../runtime/buffer-pool.ts";
import { type Estimate, estimateProgram, formatBytes } from "../runtime/plan/estimate.ts";
import { Graph } from "../runtime/graph.ts";
import type { StableDiffusion } from "./stable-diffusion.ts";

export interface RunWork {
  /** Picture size in pixels. */
  readonly width: number;
  readonly height: number;
  /** UNet rows of a sampling step: pictures made together, times two with guidance, three with Safe Latent Diffusion. */
  readonly rows: number;
  /** Pictures decoded together. */
  readonly pictures: number;
  /** Rows of an attack's iteration: also the gradient of the noise loss for their token embeddings, a target's encoding. 0: no attack. */
  readonly attackRows: number;
}

export interface RunEstimate {
  /** Weights that the run reads, once each. */
  readonly weightBytes: number;
  /** Everything else that its programs allocate. */
  readonly workingBytes: number;
  /** There if it does not fit the device's memory limit unless gradients compute again what they could keep. */
  readonly recomputing?: {
    /** How many more operations an iteration is then, such as 0.27. */
    readonly more: number;
    /** The limit in bytes. */
    readonly limit: number;
  };
}

interface Work {
  readonly bytes: number;
  readonly flops: number;
}

/**
 * Device memory of a run, from its graphs alone: nothing is read or allocated. Where it does not fit the device's memory limit, of the
 * plans with recompute regions.
 * @throws RangeError for a size that is not a multiple of the VAE's factor; ShapeError
 */
export function estimateRun(model: StableDiffusion, work: RunWork): RunEstimate {
  const weights = new Map<string, number>();
  const kept = programsOf(model, work, false, weights);
  const weightBytes = sum([...weights.values()]);
  if (weightBytes + kept.bytes <= model.device.memoryLimit || work.attackRows === 0) return { weightBytes, workingBytes: kept.bytes };
  const again = programsOf(model, work, true, weights);
  return { weightBytes, workingBytes: again.bytes, recomputing: { more: again.flops / kept.flops - 1, limit: model.device.memoryLimit } };
}

/** What the programs of a run allocate besides their weights, and the operations of a run of the program that has a gradient. */
function programsOf(model: StableDiffusion, work: RunWork, recomputes: boolean, weights: Map<string, number>): Work {
  const [height, width] = model.latentSize(work.height, work.width);
  const { unet, vae, textEncoder } = model.parts;
  const tokens = textEncoder.config.maxLength;
  let ownBytes = 0;
  let flops = 0;
  const buffers: (readonly number[])[] = [];
  const add = (record: (g: Graph) => readonly Value[]): Estimate => {
    const g = new Graph(recomputes);
    const estimate = estimateProgram(
      g,
      { outputs: Object.fromEntries(record(g).entries()) },
      model.device.capabilities,
      model.device.bufferSharing,
    );
    ownBytes += estimate.ownBytes;
    buffers.push(estimate.buffers);
    for (const node of g.nodes) if (node.leaf?.kind === "parameter") weights.set(node.name, byteLength(node.outputs[0]!.type));
    return estimate;
  };
  const noisy = (g: Graph, rows: number): Value => g.input("sample", f32([rows, height, width, unet.config.inChannels]));
  const features = (g: Graph, rows: number): Value => g.input("features", f32([rows, model.featureWidth]));
  const text = (g: Graph, rows = 1): { embeddings: Value; context: Value } => {
    const ids = g.input("ids", { shape: [rows, tokens], dtype: "u32" });
    const embeddings = model.recordEmbeddings(g, ids);
    return { embeddings, context: model.recordTextEncoder(g, embeddings, ids) };
  };
  add((g) => [text(g).context]);
  // The sampler keeps what the UNet takes of the text, as an output of one program and state of the next.
  const products: TensorType[] = [];
  add((g) => {
    const made = model.recordTextProducts(g, g.input("context", f32(model.encodingShape(work.rows, tokens))));
    products.push(...made.map((v) => v.type));
    return made;
  });
  add((g) => [model.recordUNet(g, noisy(g, work.rows), features(g, work.rows), products.map((type, i) => g.input(`text ${i}`, type)))]);
  add((g) => [model.recordDecoder(g, g.input("latents", f32([work.pictures, height, width, vae.config.latentChannels])))]);
  if (work.attackRows > 0) {
    ({ flops } = add((g) => {
      const { embeddings, context } = text(g, work.attackRows);
      const sample = noisy(g, work.attackRows);
      const prediction = model.recordUNet(g, sample, features(g, work.attackRows), context);
      const loss = mseLoss(g, prediction, g.input("target", sample.type));
      return [loss, gradients(g, loss, [embeddings], undefined, model.rescaleAt(prediction, context))[0]!];
    }));
    add((g) => {
      const { mean, logvar } = model.recordEncoder(g, g.input("image", f32([1, work.height, work.width, vae.config.inChannels])));
      return [mean, logvar];
    });
  }
  return { bytes: ownBytes + (model.device.bufferSharing ? pooledBytes(buffers) : sum(buffers.flat())), flops };
}

const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

/** `needs about 3.9 GiB of device memory: 3.7 GiB of weights, 110 MiB to work in`; with recomputing also what that is for and costs. */
export function describeEstimate({ weightBytes, workingBytes, recomputing }: RunEstimate): string {
  const [all, weights, working] = [weightBytes + workingBytes, weightBytes, workingBytes].map(formatBytes);
  const needs = `needs about ${all} of device memory: ${weights} of weights, ${working} to work in`;
  if (recomputing === undefined) return needs;
  const [limit, more] = [formatBytes(recomputing.limit), Math.round(100 * recomputing.more)];
  return `${needs}; to stay within ${limit}, an iteration computes parts of its forward pass twice, which is ${more}% more operations`;
}
