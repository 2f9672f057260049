import { adamHyperparameters } from "../../kernels/adam.ts";
import { LetheError, UsageError } from "../runtime/errors.ts";
import { Generator } from "../runtime/random.ts";
import { framedIds, insertTokens, slotLayout } from "./layout.ts";
import { KEPT_LOSSES, Objective, type SearchState } from "./objective.ts";
import type { Session } from "./session.ts";
import { initialSimplex, likeliestTokens } from "./simplex.ts";

/** Losses are asked for about this often; up to two such batches are queued at once, so the device never waits for the host. */
const BATCH_MILLISECONDS = 400;

/**
 * UnlearnDiffAtk (arXiv 2310.11868; Diffusion-MU-Attack, text_grad_.py with `sequential`): at each timestep in turn some iterations of the objective, then
 * the likeliest tokens are decoded to a prompt, which is drawn and judged. Rows and moments go on from one timestep to the next.
 * @throws UsageError if the tokens do not fit; LetheError for a loss that is not a number; AbortError
 */
export async function textGrad(session: Session): Promise<void> {
  const { model, options } = session;
  const { tokenizer, parts } = model;
  const { tokens, promptIds, schedule, iterations, seed } = options;
  const [height, width] = options.latentSize;
  const vocabulary = parts.textEncoder.config.vocabularySize;
  const layout = slotLayout(options.insert, tokens, promptIds.length, tokenizer.maxLength);
  const random = session.random(() => new Generator(options.attackSeed ?? 0));
  let search = options.resume ? resumedSearch(options.resume, tokens, vocabulary) : freshSearch(tokens, vocabulary, options.randomInit ? random : undefined);

  const objective = await Objective.for(model, { tokens, length: tokenizer.maxLength, height, width, loss: options.loss, projection: options.projection });
  const noiseShape = [1, parts.unet.config.inChannels, height, width];
  const latents = await model.encodeImage(options.target!);
  objective.start({ ids: framedIds(layout, promptIds, layout.slots.map(() => tokenizer.eosId), tokenizer), slots: layout.slots, latents, ...search });
  await session.saveState(random, search);

  const queue = (timestep: number): void => {
    session.iteration++;
    const draws = random.rand([tokens]) as Float32Array<ArrayBuffer>;
    const hyperparameters = adamHyperparameters({ lr: options.learningRate, weightDecay: options.weightDecay }, session.iteration);
    objective.step({ timestep, draws, noise: random.randn(noiseShape), hyperparameters });
  };

  const pace: Pace = { batch: 1 };
  for (const timestep of schedule.slice(session.finished)) {
    const loss = await runIterations(session, objective, pace, timestep, iterations, () => queue(timestep));
    search = await objective.readState();
    const ids = insertTokens(layout, promptIds, likeliestTokens(search.simplex, vocabulary)).filter((id) => id !== tokenizer.eosId);
    session.finished++;
    const text = tokenizer.decode(ids);
    await session.evaluate({ prompt: text, timestep, seed, loss });
    await session.saveState(random, search);
    if (session.succeeded) return;
  }
}

/** Iterations whose losses are read together; follows the device's speed. */
interface Pace {
  batch: number;
}

/** Queues the iterations of one timestep, reports their losses and returns the mean. */
async function runIterations(session: Session, objective: Objective, pace: Pace, timestep: number, iterations: number, queue: () => void): Promise<number> {
  const { signal } = session.options;
  const first = session.iteration;
  let queued = 0;
  let reported = 0;
  let sum = 0;
  let waiting: Promise<Float32Array> | undefined;
  let since = performance.now();
  const report = async (pending: Promise<Float32Array>): Promise<void> => {
    const losses = [...(await pending)];
    const bad = losses.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) {
      throw new LetheError(`the loss of iteration ${first + reported + bad + 1} at timestep ${timestep} is ${losses[bad]}: a weight, the target or the arithmetic is at fault; run "verify" and try --weights f32 --math f32`);
    }
    await session.emit({ type: "losses", timestep, iteration: first + reported, losses });
    reported += losses.length;
    for (const x of losses) sum += x;
    const now = performance.now();
    pace.batch = Math.min(KEPT_LOSSES, Math.max(1, Math.round((losses.length * BATCH_MILLISECONDS) / (now - since))));
    since = now;
  };
  while (queued < iterations) {
    signal?.throwIfAborted();
    const count = Math.min(pace.batch, iterations - queued);
    for (let i = 0; i < count; i++) queue();
    queued += count;
    const next = objective.losses(count);
    next.catch(() => undefined); // awaited in its turn, unless the batch before it fails
    if (waiting) await report(waiting);
    waiting = next;
  }
  if (waiting) await report(waiting);
  return sum / iterations;
}

function freshSearch(tokens: number, vocabulary: number, random: Generator | undefined): SearchState {
  const zeros = (): Float32Array<ArrayBuffer> => new Float32Array(tokens * vocabulary);
  return { simplex: initialSimplex(tokens, vocabulary, random), firstMoment: zeros(), secondMoment: zeros() };
}

function resumedSearch({ simplex, firstMoment, secondMoment }: SearchState, tokens: number, vocabulary: number): SearchState {
  for (const [name, rows] of Object.entries({ simplex, firstMoment, secondMoment })) {
    if (rows.length !== tokens * vocabulary) throw new UsageError(`the state to resume from has ${rows.length} numbers in "${name}", ${tokens} tokens of a vocabulary of ${vocabulary} need ${tokens * vocabulary}: resume with the same settings, or start anew`);
  }
  return { simplex, firstMoment, secondMoment };
}
