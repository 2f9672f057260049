import { activation } from "../../../kernels/activation.ts";
import { add } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { Layers } from "../../nn/layers.ts";
import { Parameters } from "../../nn/parameters.ts";
import { ProgramCache, type Recording } from "../../nn/program-cache.ts";
import type { LeafStore } from "../../nn/leaf-store.ts";
import type { Program } from "../../runtime/program.ts";
import type { NDArray } from "../../nn/array.ts";
import { gradients } from "../../runtime/autodiff.ts";
import type { Device } from "../../runtime/device.ts";
import { InputError } from "../../runtime/errors.ts";
import type { Predict } from "./denoise.ts";

/** Widths of the hidden layers, as published. Source: WhenAreConceptsErased, src/probes/noise_based_probe.py. */
export const PUBLISHED_WIDTHS = [1024, 512] as const;

/** Weights by the published state dict's names: fc_x, fc_t, net.2 and net.5, each with weight [out, in] and bias [out]. */
export type ClassifierWeights = ReadonlyMap<string, NDArray>;

/**
 * Whether noisy latents are of a concept: h = fc_x(flattened latents) + fc_t([sqrt(a), sqrt(1 - a)]); logit = net.5(silu(net.2(silu(h)))),
 * with a = alphas_cumprod of the timestep. Dropout, which training upstream has between them, is off.
 */
export class LatentClassifier {
  private readonly programs: ProgramCache;

  private constructor(readonly parameters: Parameters, device: Device, readonly elements: number) {
    this.programs = new ProgramCache(device, [parameters]);
  }

  /** @throws InputError naming a weight that is missing or of another shape */
  static of(device: Device, weights: ClassifierWeights): LatentClassifier {
    const fcX = weights.get("fc_x.weight");
    if (fcX?.shape.length !== 2) {
      throw new InputError("a latent classifier has weights fc_x, fc_t, net.2 and net.5; fc_x.weight is missing");
    }
    const source = {
      name: "latent classifier",
      shape: (tensor: string) => weights.get(tensor)?.shape,
      names: () => weights.keys(),
      readFloat32: (tensor: string) => Promise.resolve(weights.get(tensor)!.data),
    };
    return new LatentClassifier(new Parameters("latent classifier", device, source), device, fcX.shape[1]!);
  }

  /** Logits [B, 1] of flattened latents [B, C * h * w] (NCHW) and the square roots of a and 1 - a, [B, 2]. */
  recordLogits(layers: Layers, latents: Value, levels: Value): Value {
    const { g } = layers;
    const silu = (x: Value): Value => activation(g, x, "silu");
    const [width] = this.parameters.storedShape("fc_x.weight");
    const [inner] = this.parameters.storedShape("net.2.weight");
    const h = add(g, layers.linear("fc_x", latents, width!), layers.linear("fc_t", levels, width!));
    return layers.linear("net.5", silu(layers.linear("net.2", silu(h), inner!)), 1);
  }

  /** The logit of latents [1, C, h, w], and its gradient for them. @param alpha alphas_cumprod of their timestep */
  async evaluate(latents: NDArray, alpha: number): Promise<{ readonly logit: number; readonly gradient: Float32Array<ArrayBuffer> }> {
    if (latents.data.length !== this.elements) {
      throw new InputError(`the latent classifier takes latents of ${this.elements} numbers, these are ${latents.data.length}`);
    }
    const program = await this.programs.get("evaluate", (g) => {
      const x = g.input("latents", f32([1, this.elements]));
      const logit = this.recordLogits(new Layers(g, this.parameters), x, g.input("levels", f32([1, 2])));
      return { outputs: { logit, gradient: gradients(g, logit, [x])[0]! } };
    });
    const read = await program.compute({ latents: latents.data, levels: levelsOf(alpha) });
    return { logit: read["logit"]![0]!, gradient: read["gradient"] as Float32Array<ArrayBuffer> };
  }

  /** Its programs, made once for their key: see `ProgramCache`. */
  program(key: string, record: Recording, stores: readonly LeafStore[] = []): Promise<Program> {
    return this.programs.get(key, record, stores);
  }

  destroy(): Promise<void> {
    return this.programs.destroy();
  }
}

/** What the classifier is told of the noise. */
export function levelsOf(alpha: number): Float32Array<ArrayBuffer> {
  return Float32Array.of(Math.sqrt(alpha), Math.sqrt(1 - alpha));
}

/**
 * Gradient of log sigmoid(logit) for the latents. 1 / (1 + exp(logit)) and not 1 - sigmoid(logit), which loses its digits as the logit
 * grows: 1e-2 off at 12 in float32, zero past 17.
 */
export function logLikelihoodGradient(logit: number, gradient: Float32Array): Float32Array<ArrayBuffer> {
  const scale = 1 / (1 + Math.exp(logit));
  return Float32Array.from(gradient, (d) => scale * d);
}

/**
 * A prediction moved towards the concept: e - sqrt(1 - a) * scale * d log sigmoid(logit) / dx, with the gradient at the latents before the
 * step (classifier guidance, arXiv 2105.05233, algorithm 2). The latents are the sampler's own, which DDIM does not scale.
 * @param onGradient told of every step's gradient and logit
 */
export function classifierGuided(
  predict: Predict,
  classifier: LatentClassifier,
  alphas: Float32Array,
  scale: number,
  onGradient?: (gradient: Float32Array<ArrayBuffer>, logit: number) => void,
): Predict {
  return async (sample, timestep, step) => {
    const e = await predict(sample, timestep, step);
    const a = alphas[timestep]!;
    const { logit, gradient } = await classifier.evaluate(sample, a);
    const g = logLikelihoodGradient(logit, gradient);
    onGradient?.(g, logit);
    const share = Math.sqrt(1 - a) * scale;
    return e.map((x, i) => x - share * g[i]!);
  };
}
