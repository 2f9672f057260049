import { adamHyperparameters } from "../../kernels/adam.ts";
import type { NDArray } from "../models/array.ts";
import { LetheError, UsageError } from "../runtime/errors.ts";
import { Generator } from "../runtime/random.ts";
import { framedIds, insertTokens, slotLayout } from "./layout.ts";
import { KEPT_LOSSES, Objective, type RowKind, type SearchState, rowWidth } from "./objective.ts";
import type { Session } from "./session.ts";

/** Losses are asked for about this often; up to two such batches are queued at once, so the device never waits for the host. */
const BATCH_MILLISECONDS = 400;

/** What tells one attacker with a gradient from another. */
export interface GradientAttacker {
  readonly rows: RowKind;
  /** The rows to start from, f32 [tokens, width]. */
  readonly initialRows: (session: Session, random: Generator) => Promise<Float32Array<ArrayBuffer>>;
  /** What decides the tokens of one iteration, drawn before its noise. Absent if the rows alone decide. */
  readonly draws?: (session: Session, random: Generator) => Float32Array<ArrayBuffer>;
  /** The prediction is compared with what this puts into the objective's target before each iteration; absent: with the noise. */
  readonly target?: (session: Session, objective: Objective, latents: NDArray) => Promise<(timestep: number, noise: Float32Array) => void>;
}

/**
 * At each timestep in turn some iterations of the objective, then the tokens that the rows stand for are decoded to a prompt, which is drawn and judged.
 * Rows and moments go on from one timestep to the next. Source: Diffusion-MU-Attack, text_grad_.py and hard_prompt_.py with `sequential`.
 * @throws UsageError if the tokens do not fit; LetheError for a loss that is not a number; AbortError
 */
export async function gradientSearch(session: Session, attacker: GradientAttacker): Promise<void> {
  const { model, options } = session;
  const { tokenizer, parts } = model;
  const { tokens, promptIds, schedule, iterations, seed } = options;
  const [height, width] = options.latentSize;
  const rowSize = rowWidth(parts.textEncoder.config, attacker.rows);
  const layout = slotLayout(options.insert, tokens, promptIds.length, tokenizer.maxLength);
  const random = session.random(() => new Generator(options.attackSeed ?? 0));
  let search = options.resume ? resumedSearch(options.resume, tokens, rowSize) : freshSearch(await attacker.initialRows(session, random));

  const target = attacker.target ? "given" : "noise";
  const objective = await Objective.for(model, { tokens, length: tokenizer.maxLength, height, width, loss: options.loss, projection: options.projection, rows: attacker.rows, target });
  const noiseShape = [1, parts.unet.config.inChannels, height, width];
  const latents = await model.encodeImage(options.target!);
  objective.start({ ids: framedIds(layout, promptIds, layout.slots.map(() => tokenizer.eosId), tokenizer), slots: layout.slots, latents, ...search });
  const setTarget = await attacker.target?.(session, objective, latents);
  await session.saveState(random, search);

  const queue = (timestep: number): void => {
    session.iteration++;
    const draws = attacker.draws?.(session, random);
    const noise = random.randn(noiseShape);
    const hyperparameters = adamHyperparameters({ lr: options.learningRate, weightDecay: options.weightDecay }, session.iteration);
    setTarget?.(timestep, noise);
    objective.step({ timestep, noise, hyperparameters, ...(draws && { draws }) });
  };

  const pace: Pace = { batch: 1 };
  for (const timestep of schedule.slice(session.finished)) {
    const loss = await runIterations(session, objective, pace, timestep, iterations, () => queue(timestep));
    search = await objective.readState();
    const ids = insertTokens(layout, promptIds, await objective.tokens()).filter((id) => id !== tokenizer.eosId);
    session.finished++;
    const text = tokenizer.decode(ids);
    await session.evaluate({ prompt: text, timestep, seed, loss });
    await session.saveState(random, search);
    if (session.succeeded) return;
  }
}

/** Iterations whose losses are read together; follows the device's speed. */
export interface Pace {
  batch: number;
}

/** Queues the iterations of one timestep, reports their losses and returns the mean. */
export async function runIterations(session: Session, objective: Objective, pace: Pace, timestep: number, iterations: number, queue: () => void): Promise<number> {
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

/** Rows with moments of zero. */
export function freshSearch(simplex: Float32Array<ArrayBuffer>): SearchState {
  return { simplex, firstMoment: new Float32Array(simplex.length), secondMoment: new Float32Array(simplex.length) };
}

/** The rows and moments of a state. @throws UsageError if they are not of this size */
export function resumedSearch({ simplex, firstMoment, secondMoment }: SearchState, tokens: number, rowSize: number): SearchState {
  for (const [name, rows] of Object.entries({ simplex, firstMoment, secondMoment })) {
    if (rows.length !== tokens * rowSize) throw new UsageError(`the state to resume from has ${rows.length} numbers in "${name}", ${tokens} tokens of ${rowSize} each need ${tokens * rowSize}: resume with the same settings, or start anew`);
  }
  return { simplex, firstMoment, secondMoment };
}
