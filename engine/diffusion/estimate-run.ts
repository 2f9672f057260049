import { type TensorType, type Value, byteLength, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { gradients } from "../runtime/autodiff.ts";
import { pooledBytes } from "../runtime/buffer-pool.ts";
import { type Estimate, estimateProgram, formatBytes } from "../runtime/plan/estimate.ts";
import { type WeightUses, keepsResidents, plannable, pooledAtWorst, residents, totalBytes } from "../runtime/plan/residents.ts";
import { planStreams } from "../runtime/plan/streaming.ts";
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
  /** Weights that the run keeps on the device, once each. */
  readonly weightBytes: number;
  /** Everything else that its programs allocate. */
  readonly workingBytes: number;
  /** Operations of a sampling step, of decoding its pictures, and of an attack's iteration (0: no attack). */
  readonly flops: { readonly step: number; readonly decode: number; readonly iteration: number };
  /** There if it does not fit the device's memory limit unless gradients compute again what they could keep. */
  readonly recomputing?: {
    /** How many more operations an iteration is then, such as 0.27. */
    readonly more: number;
    /** The limit in bytes. */
    readonly limit: number;
  };
  /** There if weights stay in host memory. */
  readonly offloading?: {
    readonly hostBytes: number;
    /** What an attack's iteration, or without an attack a sampling step, sends to the device. */
    readonly bytesPerPass: number;
    /** Which leaves, by their names, are on the device; of others that a run may read, those that take little. */
    readonly keeps: (leaf: string, bytes: number) => boolean;
  };
}

interface Programs {
  /** Besides weights, where the programs are made in the order of a run. */
  readonly bytes: number;
  /** The same in a less fortunate order: a program can use the buffers of those before it only if they are large enough. */
  readonly bytesAtWorst: number;
  readonly flops: RunEstimate["flops"];
  readonly weights: WeightUses;
  /** Of the repeated program. */
  readonly streamedBytes: number;
}

/**
 * Device memory of a run, from its graphs alone: nothing is read or allocated. Where it does not fit the device's memory limit, of the
 * plans with recompute regions.
 * @param offload where it does not fit so either, weights may stay in host memory: those that the repeated program reads least, and of
 *   them the largest
 * @throws RangeError for a size that is not a multiple of the VAE's factor; ShapeError
 */
export function estimateRun(model: StableDiffusion, work: RunWork, offload = false): RunEstimate {
  const limit = model.device.memoryLimit;
  const kept = programsOf(model, work, false);
  const weightBytes = totalBytes(kept.weights);
  const plain = { weightBytes, workingBytes: kept.bytes, flops: kept.flops };
  const known = limit < Infinity;
  const room = offload ? plannable(limit) : limit;
  if (weightBytes + kept.bytes <= room && (known || !offload)) return plain;
  const recomputes = work.attackRows > 0 && known;
  const again = recomputes ? programsOf(model, work, true) : kept;
  const recomputing = recomputes && { recomputing: { more: again.flops.iteration / kept.flops.iteration - 1, limit } };
  const recomputed = { weightBytes, workingBytes: again.bytes, flops: again.flops, ...recomputing };
  if (!offload || (known && weightBytes + again.bytes <= room)) return recomputed;

  const resident = residents(again.weights, limit, programsOf(model, work, recomputes, () => true).bytesAtWorst);
  const streams = (leaf: string): boolean => again.weights.has(leaf) && !resident.has(leaf);
  const streamed = programsOf(model, work, recomputes, streams);
  const hostBytes = weightBytes - sum([...resident].map((leaf) => again.weights.get(leaf)!.bytes));
  return {
    ...recomputed,
    weightBytes: weightBytes - hostBytes,
    workingBytes: streamed.bytes,
    offloading: {
      hostBytes, bytesPerPass: streamed.streamedBytes,
      keeps: keepsResidents(again.weights, resident),
    },
  };
}

/** Plans a run, and has the model keep to the plan: to be called before its weights are loaded. @throws as `estimateRun` */
export function fitRun(model: StableDiffusion, work: RunWork, offload = false): RunEstimate {
  const estimate = estimateRun(model, work, offload);
  if (estimate.recomputing) model.recomputes = true;
  if (offload) model.keepOnDevice(estimate.offloading?.keeps ?? (() => true), planStreams);
  return estimate;
}

/** @param streams which weights stay in host memory */
function programsOf(
  model: StableDiffusion,
  work: RunWork,
  recomputes: boolean,
  streams: (leaf: string) => boolean = () => false,
): Programs {
  const [height, width] = model.latentSize(work.height, work.width);
  const { unet, vae, textEncoder } = model.parts;
  const tokens = textEncoder.config.maxLength;
  const weights: WeightUses = new Map();
  const { capabilities, bufferSharing, memoryLimit } = model.device;
  let ownBytes = 0;
  const buffers: (readonly number[])[] = [];
  const add = (record: (g: Graph) => readonly Value[], repeated = false): Estimate => {
    const g = new Graph(recomputes);
    const outputs = Object.fromEntries(record(g).entries());
    const estimate = estimateProgram(g, { outputs }, capabilities, bufferSharing, { streams, memoryLimit, plan: planStreams });
    ownBytes += estimate.ownBytes;
    buffers.push(estimate.buffers);
    const leaves = g.nodes.filter((n) => n.leaf?.kind === "parameter");
    for (const { name, outputs: [value] } of leaves) if (!weights.has(name)) weights.set(name, { bytes: byteLength(value!.type), uses: 0 });
    if (!repeated) return estimate;
    for (const v of g.nodes.flatMap((n) => n.inputs)) if (v?.node.leaf?.kind === "parameter") weights.get(v.node.name)!.uses++;
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
  const attacks = work.attackRows > 0;
  const step = add(
    (g) => [model.recordUNet(g, noisy(g, work.rows), features(g, work.rows), products.map((type, i) => g.input(`text ${i}`, type)))],
    !attacks,
  );
  const decode = add((g) => [model.recordDecoder(g, g.input("latents", f32([work.pictures, height, width, vae.config.latentChannels])))]);
  let iteration: Estimate | undefined;
  if (attacks) {
    iteration = add((g) => {
      const { embeddings, context } = text(g, work.attackRows);
      const sample = noisy(g, work.attackRows);
      const prediction = model.recordUNet(g, sample, features(g, work.attackRows), context);
      const loss = mseLoss(g, prediction, g.input("target", sample.type));
      return [loss, gradients(g, loss, [embeddings], undefined, model.rescaleAt(prediction, context))[0]!];
    }, true);
    add((g) => {
      const { mean, logvar } = model.recordEncoder(g, g.input("image", f32([1, work.height, work.width, vae.config.inChannels])));
      return [mean, logvar];
    });
  }
  const apart = sum(buffers.flat());
  return {
    bytes: ownBytes + (bufferSharing ? pooledBytes(buffers) : apart),
    bytesAtWorst: ownBytes + (bufferSharing ? pooledAtWorst(buffers) : apart),
    flops: { step: step.flops, decode: decode.flops, iteration: iteration?.flops ?? 0 },
    weights,
    streamedBytes: (iteration ?? step).streamedBytes,
  };
}

const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

/**
 * `needs about 3.9 GiB of device memory: 3.7 GiB of weights, 110 MiB to work in`; with recomputing and weights in host memory also what
 * that is for and costs.
 * @param uploadRate bytes a second that this device was measured to take
 */
export function describeEstimate({ weightBytes, workingBytes, recomputing, offloading, flops }: RunEstimate, uploadRate?: number): string {
  const [all, weights, working] = [weightBytes + workingBytes, weightBytes, workingBytes].map(formatBytes);
  const parts = [`needs about ${all} of device memory: ${weights} of weights, ${working} to work in`];
  if (recomputing) {
    const [limit, more] = [formatBytes(recomputing.limit), Math.round(100 * recomputing.more)];
    parts.push(`to stay within ${limit}, an iteration computes parts of its forward pass twice, which is ${more}% more operations`);
  }
  if (offloading) {
    const [host, sent] = [offloading.hostBytes, offloading.bytesPerPass].map(formatBytes);
    const pass = flops.iteration > 0 ? "iteration" : "step";
    const time = (rate: number): string => `, about ${seconds(offloading.bytesPerPass / rate)} at the measured ${formatBytes(rate)}/s`;
    const sending = offloading.bytesPerPass === 0 ? "nothing" : `${sent} to the device${uploadRate === undefined ? "" : time(uploadRate)}`;
    parts.push(`${host} of weights stay in host memory: each ${pass} sends ${sending}`);
  }
  return parts.join("; ");
}

const seconds = (s: number): string => `${s < 10 ? s.toPrecision(2) : Math.round(s)} s`;
