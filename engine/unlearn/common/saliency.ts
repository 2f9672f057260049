import { add, scale } from "../../../kernels/elementwise.ts";
import { concat } from "../../../kernels/concat.ts";
import { mseLoss } from "../../../kernels/loss.ts";
import { slice } from "../../../kernels/slice.ts";
import { joined } from "../../nn/array.ts";
import type { WeightSource } from "../../nn/parameters.ts";
import { Trainer } from "../../train/trainer.ts";
import type { LazyTensor } from "../../train/trained-tensors.ts";
import type { UnlearnSession } from "../training.ts";
import { Encodings, drawNoised, latentsInput } from "./noising.ts";
import type { PictureBatches } from "./pictures.ts";
import { asLatents, latentTensor, recordPrediction } from "./predict.ts";
import { inStateDictOrder } from "../../loading/names/state-dict-order.ts";

/** Gradients of all weights of the UNet, summed up with their signs over batches; read one by one. */
export interface SummedGradients {
  readonly tensors: readonly LazyTensor[];
  destroy(): void;
}

/**
 * SalUn's saliency (arXiv 2310.12508; generate_mask.py): the gradient of minus the error of the guided prediction
 * (1 + g) e(prompt) - g e(empty) on pictures of the concept.
 */
export async function signedGradients(session: UnlearnSession, pictures: PictureBatches, batches: number): Promise<SummedGradients> {
  const { base, settings, draws, hooks, signal } = session;
  const { latentSize, guidance } = settings;
  const batch = settings.batch!;
  const trainer = new Trainer(base, {
    name: "saliency", decay: "l2", batches: Infinity,
    trains: (_tensor, component) => component === "unet",
    record(g) {
      const noised = latentsInput(g, base, "noised", batch, latentSize);
      const { prediction: both, context } = recordPrediction(g, base, concat(g, noised, noised, 0));
      const [prompted, empty] = [slice(g, both, 0, batch, 0), slice(g, both, batch, batch, 0)];
      const prediction = add(g, scale(g, prompted, 1 + guidance!), scale(g, empty, -guidance!));
      const loss = scale(g, mseLoss(g, prediction, latentsInput(g, base, "noise", batch, latentSize)), -1);
      return { loss, rescaleAt: base.rescaleAt(both, context), outputs: { prediction } };
    },
  });
  const encodings = new Encodings(base);
  const like = latentTensor(base, "prediction", batch, latentSize);
  for (let i = 0; i < batches; i++) {
    const { latents, prompts } = await pictures.next(i, batch);
    const { noised, noise, features } = drawNoised(base, draws, latents, { compVis: true });
    const context = await encodings.of([...prompts, ...prompts.map(() => "")]);
    await trainer.step({ noised, noise, features: joined([features, features]), context }, { adam: { lr: 0 }, signal });
    await hooks.observe?.("mask prediction", async () => asLatents(await trainer.output("prediction"), like));
    await hooks.observe?.("mask loss", async () => ({ data: Float32Array.of(await trainer.loss()), shape: [1] }));
  }
  const found = new Map(trainer.tensors("sum").list().map((tensor) => [tensor.name, tensor]));
  return { tensors: inStateDictOrder(found.keys()).map((name) => found.get(name)!), destroy: () => trainer.destroy() };
}

/** Zeros and ones for each weight. */
export class Mask implements WeightSource {
  readonly name = "saliency mask";
  private readonly bits = new Map<string, { readonly data: Uint8Array<ArrayBuffer>; readonly shape: readonly number[] }>();

  /**
   * One ranking over all elements: the whole part of `share` times their number, those with the largest |gradient|, get 1. The cut is found
   * by counting the numbers' leading bits, in three readings, since all of a large model together are more than a host should sort.
   */
  static async of(gradients: readonly LazyTensor[], share: number): Promise<Mask> {
    const total = gradients.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
    const wanted = Math.floor(total * share);
    const high = await counted(gradients, (bits) => bits >>> 16, () => true);
    const first = cut(high, wanted);
    const low = await counted(gradients, (bits) => bits & 0xffff, (bits) => bits >>> 16 === first.at);
    const second = cut(low, wanted - first.above);
    const threshold = first.at * 0x10000 + second.at;
    let ties = wanted - first.above - second.above;
    const mask = new Mask();
    for (const { name, shape, read } of gradients) {
      const bits = magnitudeBits(await read());
      const data = new Uint8Array(bits.length);
      for (let i = 0; i < bits.length; i++) data[i] = bits[i]! > threshold || (bits[i] === threshold && ties-- > 0) ? 1 : 0;
      mask.bits.set(name, { data, shape });
    }
    return mask;
  }

  names(): Iterable<string> {
    return this.bits.keys();
  }

  shape(tensor: string): readonly number[] | undefined {
    return this.bits.get(tensor)?.shape;
  }

  readFloat32(tensor: string): Promise<Float32Array<ArrayBuffer>> {
    return Promise.resolve(Float32Array.from(this.bits.get(tensor)!.data));
  }

  /** 0 and 1. @throws Error if there is no such tensor */
  ones(tensor: string): Uint8Array {
    return this.bits.get(tensor)!.data;
  }
}

/** Bit patterns of |x|, which rise with it. */
function magnitudeBits(data: Float32Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(data.buffer, data.byteOffset, data.length).map((bits) => bits & 0x7fffffff);
}

async function counted(
  gradients: readonly LazyTensor[],
  key: (bits: number) => number,
  counts: (bits: number) => boolean,
): Promise<Float64Array> {
  const histogram = new Float64Array(0x10000);
  for (const { read } of gradients) for (const bits of magnitudeBits(await read())) if (counts(bits)) histogram[key(bits)]!++;
  return histogram;
}

/** The key of element number `wanted` from the top, and how many lie above it. */
function cut(histogram: Float64Array, wanted: number): { readonly at: number; readonly above: number } {
  let above = 0;
  for (let at = histogram.length - 1; at > 0; at--) {
    if (above + histogram[at]! >= wanted) return { at, above };
    above += histogram[at]!;
  }
  return { at: 0, above };
}
