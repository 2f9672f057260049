import { multiply } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { sum } from "../../../kernels/reduce.ts";
import { adamHyperparameters } from "../../../kernels/adam.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { noised } from "../../diffusion/steering/encode.ts";
import {
  type ClassifierWeights, LatentClassifier, PUBLISHED_WIDTHS, classifierGuided, levelsOf,
} from "../../diffusion/steering/latent-classifier.ts";
import type { NDArray } from "../../nn/array.ts";
import { Layers } from "../../nn/layers.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { UsageError } from "../../runtime/errors.ts";
import { TrainingState } from "../../train/state.ts";
import { ADAM_INPUT, type Trained, recordUpdate } from "../../train/update.ts";
import { type Graph, asGraphValue } from "../../runtime/graph.ts";
import type { ProbePictures } from "../options.ts";
import { drawNoisy, noiseGrid } from "./noise-probe.ts";
import type { OtherSide, Probe, ProbeUnit, Studio } from "./studio.ts";

/** Half of each kind. */
const BATCH = 16;
const ADAM = { lr: 1e-3 } as const;

/**
 * Sampling guided by a classifier of noisy latents that was trained on two small sets of pictures (WhenAreConceptsErased, arXiv
 * 2505.17013): every scale with every eta, seeds as the noise probe's. The judge must not be that classifier.
 */
export const latentClassifier: Probe = async (studio) => {
  const { own, other, options } = studio;
  const classifier = await classifierOf(studio);
  const grid = noiseGrid(studio, options.classifierScales);
  const unit = (i: number, eta: number, scale: number, side: OtherSide, control?: string): ProbeUnit =>
    studio.unit(i, side, control, { eta, scale }, async (seed) => {
      const predict = classifierGuided(await studio.guided(side.prompt, side.model), classifier, side.model.alphasCumprod, scale);
      return drawNoisy(studio, side, seed, predict, eta, 1);
    });
  return [
    ...grid.map(([eta, scale], i) => unit(i, eta, scale, own)),
    ...grid.map(([eta], i) => unit(i, eta, 0, own, "unguided")),
    ...(other ? grid.map(([eta, scale], i) => unit(i, eta, scale, other, "never-saw")) : []),
  ];
};

/** Classifiers by model and by what they were trained with: the prompts of an evaluation share one. They are freed with their model. */
const classifiers = new WeakMap<StableDiffusion, Map<string, LatentClassifier>>();

async function classifierOf(studio: Studio): Promise<LatentClassifier> {
  const { model } = studio;
  const { probePictures = {}, classifierSteps, attackSeed, signal } = studio.options;
  const seed = attackSeed ?? 0;
  const key = `${await digest(probePictures)} ${classifierSteps} ${seed}`;
  const known = classifiers.get(model) ?? new Map<string, LatentClassifier>();
  classifiers.set(model, known);
  const there = known.get(key);
  if (there) return there;
  const classifier = await trainClassifier(model, probePictures, classifierSteps, studio.random(seed), signal);
  known.set(key, classifier);
  model.keep(`latent classifier ${key}`, () => ({ destroy: () => void classifier.destroy() }));
  return classifier;
}

/** SHA-256 of all numbers of both sets. */
async function digest({ concept = [], other = [] }: ProbePictures): Promise<string> {
  const all = [...concept, { data: Float32Array.of(concept.length) }, ...other].map(({ data }) => data);
  const bytes = new Uint8Array(await new Blob(all).arrayBuffer());
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * Trains a classifier on latents of two sets of pictures, each noised at a random timestep, by binary cross entropy and Adam. On the
 * device: its first layer has 17 million weights for latents of 4x64x64.
 * @throws UsageError for an empty set; AbortError
 */
export async function trainClassifier(
  model: StableDiffusion,
  { concept = [], other = [] }: ProbePictures,
  steps: number,
  random: Generator,
  signal?: AbortSignal,
): Promise<LatentClassifier> {
  if (concept.length === 0 || other.length === 0) {
    const got = `got ${concept.length} of the concept and ${other.length} others`;
    throw new UsageError(`the latent classifier needs pictures of both kinds, ${got}`);
  }
  const sets: NDArray[][] = [[], []];
  for (const [kind, pictures] of [concept, other].entries()) for (const p of pictures) sets[kind]!.push(await model.encodeImage(p));
  const elements = sets[0]![0]!.data.length;
  const classifier = LatentClassifier.of(model.device, firstWeights(elements, random));
  const state = new TrainingState(model.device);
  try {
    const inputs = { latents: f32([BATCH, elements]), levels: f32([BATCH, 2]) };
    const record = (g: Graph): Value =>
      classifier.recordLogits(
        new Layers(g, classifier.parameters),
        g.input("latents", inputs.latents),
        g.input("levels", inputs.levels),
      );
    const forward = await classifier.program("train forward", (g) => {
      return { outputs: { logits: record(g) } };
    });
    const update = await classifier.program(
      "train update",
      (g) => {
        const logits = record(g);
        // The gradient of the cross entropy is sigmoid(logit) - label for each logit: a weighted sum has that gradient.
        const loss = sum(g, multiply(g, logits, g.input("residuals", f32([BATCH, 1]))));
        const trained = g.nodes
          .filter(({ leaf }) => leaf?.kind === "parameter")
          .map((node): Trained => ({ leaf: asGraphValue(node.outputs[0]!), owner: classifier.parameters }));
        const { assigns } = recordUpdate(g, { loss }, trained, state, { decay: "l2" }, "only");
        return { outputs: { loss }, assigns };
      },
      [state],
    );
    for (let step = 1; step <= steps; step++) {
      signal?.throwIfAborted();
      const batch = drawBatch(model.alphasCumprod, sets, elements, random);
      const logits = await forward.computeFloats({ latents: batch.latents, levels: batch.levels }, "logits");
      const residuals = logits.map((l, i) => (1 / (1 + Math.exp(-l)) - batch.labels[i]!) / BATCH);
      const { latents, levels } = batch;
      await update.run({ latents, levels, residuals, [ADAM_INPUT]: adamHyperparameters(ADAM, step) });
    }
    return classifier;
  } finally {
    state.destroy();
  }
}

/** Half of the rows of each set, in turn, each noised at a timestep of its own. */
function drawBatch(alphas: Float32Array, sets: readonly (readonly NDArray[])[], elements: number, random: Generator) {
  const [latents, levels, labels] = [new Float32Array(BATCH * elements), new Float32Array(BATCH * 2), new Float32Array(BATCH)];
  for (let row = 0; row < BATCH; row++) {
    const set = sets[row % 2]!;
    const clean = set[random.randint(set.length, 1)[0]!]!;
    const alpha = alphas[random.randint(alphas.length, 1)[0]!]!;
    const noise = random.randn(clean.shape);
    latents.set(noised(clean, Float32Array.from(noise), { signal: Math.sqrt(alpha), sigma: Math.sqrt(1 - alpha) }).data, row * elements);
    levels.set(levelsOf(alpha), row * 2);
    labels[row] = row % 2 === 0 ? 1 : 0;
  }
  return { latents, levels, labels };
}

/** torch's first weights of linear layers: even from -1 / sqrt(in) to 1 / sqrt(in). */
function firstWeights(elements: number, random: Generator): ClassifierWeights {
  const [width, inner] = PUBLISHED_WIDTHS;
  const layers = [["fc_x", width, elements], ["fc_t", width, 2], ["net.2", inner, width], ["net.5", 1, inner]] as const;
  return new Map(
    layers.flatMap(([name, out, from]): [string, NDArray][] => {
      const even = (shape: number[]): NDArray => ({
        data: Float32Array.from(random.rand(shape), (u) => (2 * u - 1) / Math.sqrt(from)),
        shape,
      });
      return [[`${name}.weight`, even([out, from])], [`${name}.bias`, even([out])]];
    }),
  );
}
