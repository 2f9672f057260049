import type { RgbImage } from "../../formats/picture/image.ts";
import { type LearnedEmbedding, encodeLearned, learnedPrompt } from "../../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { NO_HOOKS, type SessionHooks } from "./hooks.ts";
import { Painter } from "./painter.ts";
import type { Gate } from "./gate.ts";
import type { SearchState } from "../search/objective.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { whyNotPortable } from "./portable.ts";
import { previousOf, type Evaluation } from "./evaluation.ts";
import { restoreRandom } from "../../runtime/random/portable.ts";
import { restoreRandoms, saveRandoms, type AttackState } from "./state.ts";
import type { AttackEvent } from "../events.ts";
import type { Judgement } from "../judges/judgement.ts";

export type EventHandler = (event: AttackEvent) => void | Promise<void>;

/** What is evaluated and when. */
export interface Candidate {
  readonly prompt: string;
  readonly timestep: number;
  readonly seed: number;
  /** Mean loss since the last evaluation; null without iterations. */
  readonly loss: number | null;
  /** Which of the cases, from 0. Default 0. */
  readonly case?: number;
  /** Which of several searches side by side. */
  readonly restart?: number;
  /** A word of the prompt that has an embedding of its own. */
  readonly learned?: LearnedEmbedding;
}

const NO_ROWS = new Float32Array(0);
const NOT_DRAWN: Judgement = { success: false, label: "not drawn", score: 0, scores: {} };

/** What all attackers share in one attack: the pictures drawn so far, the count of work done, and what is told to the caller. */
export class Session {
  readonly evaluations: Evaluation[];
  /** Gradient iterations or tries done. */
  iteration: number;
  /** Timesteps or tries finished. */
  finished: number;
  private readonly painter: Painter;
  /** Draws with few steps. */
  private readonly sketcher: Painter | undefined;
  private gate: Promise<Gate> | undefined;
  /** The last picture of every case and search. */
  private readonly images = new Map<string, RgbImage>();

  /** @throws UsageError if `options.resume` is of another attack; SchedulerConfigError */
  constructor(
    readonly model: StableDiffusion,
    readonly options: ResolvedOptions,
    readonly emit: EventHandler,
    readonly hooks: SessionHooks = NO_HOOKS,
  ) {
    const { resume, screeningSteps } = options;
    const painter = (steps: number): Painter => new Painter(model, { ...options, steps }, hooks.pictureRandom);
    this.painter = painter(options.steps);
    this.sketcher = screeningSteps === null ? undefined : painter(screeningSteps);
    this.evaluations = [...(resume?.evaluations ?? [])];
    this.iteration = resume?.iteration ?? 0;
    this.finished = resume?.finished ?? 0;
    if (resume) checkResume(options, resume);
  }

  /** Evaluations by candidate: those of one set of tokens, over all cases; the original prompts first. Controls are left out. */
  candidates(): Evaluation[][] {
    const groups: Evaluation[][] = [];
    for (const e of this.evaluations.filter(({ control }) => control === undefined)) {
      const before = groups.at(-1)?.[0];
      if (before && before.timestep === e.timestep && before.iteration === e.iteration && before.restart === e.restart) {
        groups.at(-1)!.push(e);
      } else groups.push([e]);
    }
    return groups;
  }

  /** The last candidate drew the concept, in every case. */
  get succeeded(): boolean {
    const last = this.candidates().at(-1) ?? [];
    return this.options.cases.every((_, i) => last.some((e) => (e.case ?? 0) === i && e.judgement.success));
  }

  /** The search's generator: as it was left, or at the start that of a seed. @throws UsageError for a broken state */
  random(seed = this.options.attackSeed ?? 0): Generator {
    return this.options.resume ? restoreRandom(this.options.resume.random) : this.hooks.searchRandom(seed);
  }

  /** The generators of searches side by side, number r with the attack's seed + r. @throws UsageError for a broken state */
  randoms(count: number): Generator[] {
    const { resume, attackSeed } = this.options;
    return resume
      ? restoreRandoms(resume.random, count)
      : Array.from({ length: count }, (_, r) => this.hooks.searchRandom((attackSeed ?? 0) + r));
  }

  /** Latents of a case's picture, [1, C, h, w], scaled as the UNet sees them. @throws LetheError for a picture that is not of numbers */
  async targetLatents(number: number): Promise<NDArray> {
    return this.hooks.targetLatents?.(number) ?? this.model.encodeImage(this.options.cases[number]!.target!);
  }

  /**
   * Draws the candidate and has it judged, after the gate and the screening if there are such; unless it is the same as the last one of its
   * case and search.
   * @throws AbortError; whatever the judge or the event handler throws
   */
  async evaluate(candidate: Candidate): Promise<void> {
    const { model, options, iteration } = this;
    options.signal?.throwIfAborted();
    const { tokenizer } = model;
    const { prompt, timestep, seed, loss, learned, restart } = candidate;
    const ids = (learned ? unframed(learnedPrompt(model, prompt, [learned]).ids, tokenizer) : tokenizer.tokenize(prompt)).slice(
      0,
      tokenizer.maxLength - 2,
    );
    const number = candidate.case ?? 0;
    const base = {
      timestep,
      iteration,
      ids,
      prompt,
      loss,
      seed,
      ...(options.cases.length > 1 && { case: number }),
      ...(restart !== undefined && { restart }),
    };
    const last = previousOf(this.evaluations, { case: number, ...(restart !== undefined && { restart }) });
    const started = performance.now();
    const log = (rest: Pick<Evaluation, "judgement" | "unchanged" | "gate" | "screening">, image: RgbImage | null): Promise<void> =>
      this.log({ ...base, ...rest, milliseconds: performance.now() - started }, image, learned);
    const { drawn } = options;
    if (drawn && last === undefined && options.cases.length === 1) {
      return this.log({ ...base, judgement: drawn.judgement, unchanged: false, milliseconds: drawn.milliseconds }, drawn.image, learned);
    }
    if (learned === undefined && last !== undefined && last.seed === seed && last.ids.join() === ids.join()) {
      const { judgement, gate, screening } = last;
      const stopped = gate?.passed === false;
      // After a resumption the last picture is not there: it is drawn again, which gives the same one.
      const image = stopped ? null : (this.images.get(keyOf(last)) ?? (await this.draw(candidate, screening && this.sketcher)));
      return log({ judgement, unchanged: true, ...(stopped && { gate }), ...(screening && { screening }) }, image);
    }
    const searched = timestep >= 0;
    const gated = searched && options.gate !== undefined;
    if (gated) this.gate ??= import("./gate.ts").then(({ Gate }) => new Gate(model, options));
    let gate = gated ? await (await this.gate)?.check(await encodeLearned(model, prompt, learned ? [learned] : []), number) : undefined;
    if (gate && !gate.passed) return log({ judgement: NOT_DRAWN, unchanged: false, gate }, null);
    if (searched && this.sketcher) {
      const image = await this.draw(candidate, this.sketcher);
      const { success: passed, ...seen } = await options.judge(image);
      await log(
        {
          judgement: { ...seen, success: false },
          unchanged: false,
          ...(gate && { gate }),
          screening: { steps: options.screeningSteps!, passed },
        },
        image,
      );
      if (!passed) return;
      gate = undefined;
    }
    const image = await this.draw(candidate);
    await log({ judgement: await options.judge(image), unchanged: false, ...(gate && { gate }) }, image);
  }

  /** Has a picture judged that was drawn by other means than a prompt. @param judged what the judge sees of it */
  async judgePicture(
    image: RgbImage,
    judged: RgbImage,
    made: Pick<Evaluation, "prompt" | "timestep" | "seed" | "probe"> & { readonly started: number; readonly control: string | undefined },
  ): Promise<void> {
    const { control, started, ...rest } = made;
    const judgement = await this.options.judge(judged);
    const evaluation: Evaluation = {
      ...rest,
      ...(control !== undefined && { control }),
      iteration: this.iteration,
      ids: this.model.tokenizer.tokenize(made.prompt).slice(0, this.model.tokenizer.maxLength - 2),
      loss: null,
      judgement,
      unchanged: false,
      milliseconds: performance.now() - started,
    };
    this.evaluations.push(evaluation);
    await this.emit({ type: "evaluation", evaluation, image });
  }

  private draw({ prompt, seed, learned, case: number = 0 }: Candidate, painter = this.painter): Promise<RgbImage> {
    const { draw, cases, signal } = this.options;
    const { guidance } = cases[number]!;
    if (draw) return draw(prompt, { seed, guidance, steps: painter.steps, signal });
    return painter.draw(
      prompt,
      { seed, guidance },
      (step, steps) => this.emit({ type: "sampling", step, steps }),
      learned,
    );
  }

  private async log(made: Evaluation, image: RgbImage | null, learned: LearnedEmbedding | undefined): Promise<void> {
    const found = made.judgement.success && made.timestep >= 0 && learned === undefined;
    const notPortable = found ? whyNotPortable(this.model.tokenizer, made.prompt) : undefined;
    const evaluation = { ...made, ...(notPortable !== undefined && { notPortable }) };
    this.evaluations.push(evaluation);
    if (image) this.images.set(keyOf(evaluation), image);
    await this.emit(image ? { type: "evaluation", evaluation, image, ...(learned && { learned }) } : { type: "skipped", evaluation });
  }

  /** Tells the caller where the attack stands. @param other what the attacker keeps besides, as JSON */
  async saveState(randoms: readonly Generator[], rows?: SearchState, other?: unknown): Promise<void> {
    const { simplex = NO_ROWS, firstMoment = NO_ROWS, secondMoment = NO_ROWS } = rows ?? {};
    const { finished, iteration } = this;
    const state: AttackState = {
      attacker: this.options.attacker,
      finished,
      iteration,
      simplex,
      firstMoment,
      secondMoment,
      random: saveRandoms(randoms),
      ...(other !== undefined && { search: other }),
      evaluations: [...this.evaluations],
    };
    await this.emit({ type: "state", state });
  }
}

function keyOf({ case: number = 0, restart, timestep }: Evaluation): string {
  return `${number} ${timestep < 0 ? "original" : (restart ?? "")}`;
}

/** Framed ids without bos, and without eos and what comes after it. */
function unframed(ids: Uint32Array, { eosId }: { readonly eosId: number }): number[] {
  return [...ids.subarray(1, ids.indexOf(eosId))];
}

function checkResume({ attacker, cases }: ResolvedOptions, resume: AttackState): void {
  const first = resume.evaluations[0];
  if (!first) throw new UsageError("the state to resume from has no evaluation of the original prompt: start the attack anew");
  const { prompt, seed } = cases[0]!;
  const pairs = { attacker: [resume.attacker, attacker], prompt: [first.prompt, prompt], seed: [first.seed, seed] } as const;
  for (const [what, [before, now]] of Object.entries(pairs)) {
    if (before !== now) {
      throw new UsageError(
        `the state to resume from is of an attack with ${what} ${JSON.stringify(before)}, this one has ${JSON.stringify(now)}: resume ` +
          "with the same settings, or start anew",
      );
    }
  }
}
