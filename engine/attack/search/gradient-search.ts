import { adamHyperparameters } from "../../../kernels/adam.ts";
import { type NDArray, joined } from "../../nn/array.ts";
import { UsageError } from "../../runtime/errors.ts";
import { Generator } from "../../runtime/random/random.ts";
import { caseLayouts, followPrompt, judgeTokens } from "../session/cases.ts";
import { type Pace, runIterations } from "./iterations.ts";
import { framedIds } from "./slot-layout.ts";
import { Objective, type ObjectiveView, type SearchState } from "./objective.ts";
import type { RowKind } from "./row-kinds.ts";
import type { Session } from "../session/session.ts";
import { searchSchedule } from "./timestep-order.ts";

/** What tells one attacker with a gradient from another. */
export interface GradientAttacker {
  readonly rows: RowKind;
  /** The rows that one search starts from, f32 [tokens, width]. */
  readonly initialRows: (session: Session, random: Generator) => Promise<Float32Array<ArrayBuffer>>;
  /** What decides the tokens of one iteration of one search, drawn before its noise. Absent if the rows alone decide. */
  readonly draws?: (session: Session, random: Generator) => Float32Array<ArrayBuffer>;
  /**
   * The prediction is compared with what this puts into the objective's target before each iteration; absent: with the noise.
   * @param pictures latents of each case
   * @returns given each view's timestep, the noise, and which case each view shows
   */
  readonly target?: (
    session: Session,
    objective: Objective,
    pictures: readonly NDArray[],
    views: number,
  ) => Promise<(timesteps: readonly number[], noise: Float32Array, shown: readonly number[]) => Promise<void>>;
}

/**
 * At each timestep in turn some iterations of the objective, then the tokens that the rows stand for are decoded to a prompt, which is
 * drawn and judged.
 * Rows and moments go on from one timestep to the next. Source: Diffusion-MU-Attack, text_grad_.py and hard_prompt_.py with `sequential`.
 * Beyond it, all in one batch: several searches (`restarts`), several timesteps (`timestepsPerStep`) and several prompts with their
 * pictures (`cases`).
 * @throws UsageError if the tokens do not fit; LetheError for a loss that is not a number; AbortError
 */
export async function gradientSearch(session: Session, attacker: GradientAttacker): Promise<void> {
  const { model, options } = session;
  const { tokenizer } = model;
  const { tokens, iterations, cases, restarts, timestepsPerStep, casesPerStep } = options;
  const [height, width] = options.latentSize;
  const randoms = session.randoms(restarts);
  const rowSize = attacker.rows.width(model.text);
  let search = options.resume
    ? resumedSearch(options.resume, restarts * tokens, rowSize)
    : freshSearch(await firstRows(session, attacker, randoms));

  const target = attacker.target ? "given" : "noise";
  const views = timestepsPerStep * casesPerStep;
  const { loss, projection, vocabulary } = options;
  const objective = await Objective.for(model, {
    tokens,
    length: tokenizer.maxLength,
    height,
    width,
    loss,
    projection,
    vocabulary,
    rows: attacker.rows,
    target,
    restarts,
    views,
  });
  const pictures: NDArray[] = [];
  for (const i of cases.keys()) pictures.push(await session.targetLatents(i));
  const shownCases = caseLayouts(session).map((layout, i): ObjectiveView => {
    const ids = framedIds(layout, cases[i]!.promptIds, layout.slots.map(() => tokenizer.eosId), tokenizer);
    return { ids, slots: layout.slots, latents: pictures[i]! };
  });
  objective.start({ ...shownCases[0]!, ...search });
  const setTarget = await attacker.target?.(session, objective, pictures, views);
  if (model.parts.transport) await followPrompt(session, await objective.tokens());
  const schedule = await searchSchedule(session, shownCases[0]!);
  const kept = options.timestepOrder === "sequence" ? undefined : { schedule };
  await session.saveState(randoms, search, kept);

  let shown = "";
  /** Which case each view has in the iteration to come: they take turns; timesteps of one case lie together. */
  const turn = (): number[] =>
    Array.from({ length: views }, (_, n) => (session.iteration * casesPerStep + Math.floor(n / timestepsPerStep)) % cases.length);
  const queue = async (stage: readonly number[]): Promise<void> => {
    const casesNow = turn();
    if (cases.length > 1 && casesNow.join() !== shown) objective.show(casesNow.map((i) => shownCases[i]!));
    shown = casesNow.join();
    session.iteration++;
    const timesteps = Array.from({ length: views }, (_, n) => stage[n % timestepsPerStep]!);
    const { draws, noise } = drawAll(session, attacker, randoms, views);
    const hyperparameters = adamHyperparameters({ lr: options.learningRate, weightDecay: options.weightDecay }, session.iteration);
    await setTarget?.(timesteps, noise, casesNow);
    await objective.step({ timestep: timesteps, noise, hyperparameters, ...(draws && { draws }) }, options.signal);
    session.hooks.onIteration?.(objective);
  };

  const pace: Pace = { batch: 1 };
  for (let done = session.finished * timestepsPerStep; done < schedule.length; done += timestepsPerStep) {
    const stage = schedule.slice(done, done + timestepsPerStep);
    const losses = await runIterations(session, objective, pace, stage[0]!, iterations, () => queue(stage));
    search = await objective.readState();
    const chosen = await objective.tokens();
    session.finished++;
    for (const r of [...losses.keys()].toSorted((a, b) => losses[a]! - losses[b]!)) {
      await judgeTokens(session, chosen.slice(r * tokens, (r + 1) * tokens), {
        timestep: stage[0]!,
        loss: losses[r]!,
        ...(restarts > 1 && { restart: r }),
      });
      if (session.succeeded) break;
    }
    await followPrompt(session, chosen);
    await session.saveState(randoms, search, kept);
    if (session.succeeded) return;
  }
}

async function firstRows(
  session: Session,
  { initialRows }: GradientAttacker,
  randoms: readonly Generator[],
): Promise<Float32Array<ArrayBuffer>> {
  const parts: Float32Array[] = [];
  for (const random of randoms) parts.push(await initialRows(session, random));
  return joined(parts);
}

/** The randomness of one iteration: each search draws from its own generator, its tokens first and then the noise of each view. */
function drawAll(
  session: Session,
  attacker: GradientAttacker,
  randoms: readonly Generator[],
  views: number,
): { draws: Float32Array<ArrayBuffer> | undefined; noise: Float32Array<ArrayBuffer> } {
  const { model, options } = session;
  const shape = [1, model.parts.unet.config.inChannels, ...options.latentSize];
  const drawn = randoms.map((random) => ({
    draws: attacker.draws?.(session, random),
    noises: Array.from({ length: views }, () => random.randn(shape)),
  }));
  const draws = drawn.flatMap((d) => d.draws ?? []);
  return {
    draws: draws.length > 0 ? joined(draws) : undefined,
    noise: joined(Array.from({ length: views }, (_, n) => drawn.map((d) => d.noises[n]!)).flat()),
  };
}

/** Rows with moments of zero. */
export function freshSearch(simplex: Float32Array<ArrayBuffer>): SearchState {
  return { simplex, firstMoment: new Float32Array(simplex.length), secondMoment: new Float32Array(simplex.length) };
}

/** The rows and moments of a state. @throws UsageError if they are not of this size */
export function resumedSearch({ simplex, firstMoment, secondMoment }: SearchState, tokens: number, rowSize: number): SearchState {
  for (const [name, rows] of Object.entries({ simplex, firstMoment, secondMoment })) {
    if (rows.length !== tokens * rowSize) {
      throw new UsageError(
        `the state to resume from has ${rows.length} numbers in "${name}", ${tokens} tokens of ${rowSize} each need ` +
          `${tokens * rowSize}: resume with the same settings, or start anew`,
      );
    }
  }
  return { simplex, firstMoment, secondMoment };
}
