import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../kernels/adam.ts";
import { categorical } from "../../kernels/categorical.ts";
import { clamp } from "../../kernels/clamp.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { simplexProjection } from "../../kernels/simplex-projection.ts";
import { gatherRows } from "../../kernels/gather-rows.ts";
import { sum } from "../../kernels/reduce.ts";
import { multiply } from "../../kernels/elementwise.ts";
import type { ObjectiveShape } from "../../engine/attack/search/iteration-program.ts";
import { Objective } from "../../engine/attack/search/objective.ts";
import { initialSimplex } from "../../engine/attack/search/simplex.ts";
import { Layers } from "../../engine/nn/layers.ts";
import type { ImageClassifier } from "../../engine/vision/image-classifier.ts";
import { Sampler } from "../../engine/diffusion/sampler.ts";
import { createSamplerPlan, pipelineSchedulerConfig } from "../../engine/diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { timesTokenTable, tokenTable } from "../../engine/diffusion/text-encoder.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { HostArray, ProgramOptions } from "../../engine/runtime/program.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { type Bench, type Prepared, type RowName, countsOf, measureTask, workOf } from "../task.ts";
import { type BenchModel, measureRecorded, noise } from "./model.ts";
import { decoding } from "./vae.ts";
import { recordUNet, unetInputs } from "./unet.ts";

const TIMESTEP = 501;
const GUIDANCE = 7.5;
/** Sampling steps measured at once; a picture takes 25 to 50 of them. */
const SAMPLED_STEPS = 4;

/**
 * What an attack's time goes into. One iteration and its parts (text encoder, UNet, and the update of the simplex rows); and the parts of
 * one evaluation: encoding the prompt, guided sampling steps, decoding, judging.
 * @param judge absent: the row is left out
 */
export async function runAttack(
  bench: Bench,
  { name, model }: BenchModel,
  sizes: readonly number[],
  tokens: number,
  judge: ImageClassifier | undefined,
): Promise<void> {
  const row = (what: string, gradient = false): RowName => ({
    suite: "attack",
    model: name,
    name: what,
    direction: gradient ? "forward+gradient" : "forward",
  });
  const length = model.tokenizer.maxLength;
  const encode = (g: Graph): ProgramOptions => {
    const ids = g.input("ids", { shape: [1, length], dtype: "u32" });
    return { outputs: { hidden: model.recordTextEncoder(g, model.recordEmbeddings(g, ids)) } };
  };
  const ids = tokenIds(model, length);
  await measureRecorded(bench, model, row(`evaluation: text encoder ${length} tokens`), encode, () => ({ ids }));
  await measureRecorded(bench, model, row(`iteration: text encoder ${length} tokens`, true), (g) => recordText(g, model));
  const update = row(`iteration: search update k=${tokens}`);
  await measureRecorded(bench, model, update, (g) => recordUpdate(g, model, tokens), () => updateInputs(model, tokens));
  for (const size of sizes) {
    const unet = row(`iteration: UNet @${size}`, true);
    await measureRecorded(bench, model, unet, (g) => recordUNet(g, model, size, 1, true), () => unetInputs(model, size, 1));
    await measureTask(bench, row(`iteration @${size} k=${tokens}`, true), () =>
      prepareIteration(model, { tokens, length, height: size, width: size, loss: "mse", projection: "exact" }),
    );
    await sampling(bench, model, row(`evaluation: ${SAMPLED_STEPS} guided sampling steps @${size}`), size);
    const decoder = row(`evaluation: decoder @${size} (${size * model.parts.vae.config.factor} px)`);
    await measureRecorded(bench, model, decoder, ...decoding(model, size));
  }
  if (judge) {
    const image = { width: 64, height: 64, data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 37) % 256) };
    await measureTask(
      bench,
      row("evaluation: judge"),
      async () => ({ run: async () => void (await judge.classify(image)), work: { flops: 0, bytes: 0 }, dispatches: 0, pipelines: 0 }),
      "with its read-back; work not counted",
    );
  }
  await model.device.settle();
}

/** The text encoder with the gradient by the token embeddings of a sum over its result. */
function recordText(g: Graph, model: StableDiffusion): ProgramOptions {
  const { hiddenSize } = model.parts.textEncoder.config;
  const embeddings = g.input("embeddings", f32([1, model.tokenizer.maxLength, hiddenSize]));
  const hidden = model.recordTextEncoder(g, embeddings);
  const loss = sum(g, multiply(g, hidden, g.input("cotangent", hidden.type)));
  return { outputs: { hidden, gradient: gradients(g, loss, [embeddings])[0]! } };
}

/**
 * What an iteration does besides the model: a draw for each slot, the product with the token table, Adam, the projection (see Objective).
 */
export function recordUpdate(g: Graph, model: StableDiffusion, tokens: number): ProgramOptions {
  const { config, parameters } = model.parts.textEncoder;
  const rows = f32([tokens, config.vocabularySize]);
  const simplex = g.input("simplex", rows);
  const choice = categorical(g, simplex, g.input("draws", f32([tokens])));
  const slots = g.input("slots", { shape: [tokens], dtype: "u32" });
  const embeddingGradient = g.input("embeddingGradient", f32([1, model.tokenizer.maxLength, config.hiddenSize]));
  const gradient = clamp(g, timesTokenTable(g, gatherRows(g, embeddingGradient, slots), tokenTable(new Layers(g, parameters), config)));
  const moved = adam(
    g,
    { parameter: simplex, m: g.input("m", rows), v: g.input("v", rows) },
    gradient,
    g.input("hyperparameters", f32([ADAM_HYPERPARAMETERS])),
  );
  const outputs: Record<string, Value> = { choice, projected: simplexProjection(g, moved.parameter), m: moved.m, v: moved.v };
  return { outputs };
}

/** Inputs of `recordUpdate` that are not to be zero. */
export function updateInputs(model: StableDiffusion, tokens: number): Record<string, HostArray> {
  return {
    simplex: initialSimplex(tokens, model.parts.textEncoder.config.vocabularySize),
    hyperparameters: adamHyperparameters({ lr: 0.05 }, 1),
  };
}

/** A whole iteration, as the attack queues it. The model keeps its program. */
export async function prepareIteration(model: StableDiffusion, shape: ObjectiveShape): Promise<Prepared> {
  const { tokens, length, height, width } = shape;
  const { inChannels } = model.parts.unet.config;
  const vocabulary = model.parts.textEncoder.config.vocabularySize;
  const objective = await Objective.for(model, shape);
  objective.start({
    ids: tokenIds(model, length),
    slots: Array.from({ length: tokens }, (_, i) => i + 1),
    latents: { data: noise(height * width * inChannels), shape: [1, inChannels, height, width] },
    simplex: initialSimplex(tokens, vocabulary),
    firstMoment: new Float32Array(tokens * vocabulary),
    secondMoment: new Float32Array(tokens * vocabulary),
  });
  const unit = noise(height * width * inChannels);
  const draws = Float32Array.from({ length: tokens }, () => Math.random());
  let count = 0;
  return {
    run: () => objective.step({ timestep: TIMESTEP, noise: unit, draws, hyperparameters: adamHyperparameters({ lr: 0.05 }, ++count) }),
    ...countsOf(objective.program),
  };
}

/** Some ids of the vocabulary. */
function tokenIds(model: StableDiffusion, length: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length }, (_, i) => (i * 131) % model.parts.textEncoder.config.vocabularySize);
}

/** Sampling steps with guidance, from the noise to latents on the host. */
async function sampling(bench: Bench, model: StableDiffusion, row: RowName, size: number): Promise<void> {
  const { unet, scheduler } = model.parts;
  const length = model.tokenizer.maxLength;
  const shape = [1, unet.config.inChannels, size, size];
  const context = { data: noise(length * unet.config.crossAttentionDim), shape: [1, length, unet.config.crossAttentionDim] };
  await measureTask(
    bench,
    row,
    async () => {
      const sampler = Sampler.for(model, { batch: 1, height: size, width: size, length, guidance: GUIDANCE });
      const plan = createSamplerPlan("ddim", pipelineSchedulerConfig(scheduler), SAMPLED_STEPS);
      const start = noise(size * size * unet.config.inChannels);
      const graph = new Graph();
      const { steps } = makeSchedule(graph, Object.values(recordUNet(graph, model, size, 2, false).outputs), model.device.capabilities);
      const one = workOf(steps);
      return {
        run: async () =>
          void (await sampler.run({
            context,
            unconditional: context,
            noise: { data: start, shape },
            plan,
            drawNoise: () => noise(start.length),
          })),
        work: { flops: one.flops * SAMPLED_STEPS, bytes: one.bytes * SAMPLED_STEPS },
        dispatches: SAMPLED_STEPS * steps.reduce((n, s) => n + s.plan.dispatches.length, 0),
        pipelines: new Set(steps.flatMap((s) => s.plan.dispatches.map((d) => `${d.shader.name} ${JSON.stringify(d.defines)}`))).size,
      };
    },
    "work counted: the UNet at batch 2",
  );
}
