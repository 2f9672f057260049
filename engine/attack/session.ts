import type { RgbImage } from "../formats/image.ts";
import { type LearnedEmbedding, learnedPrompt } from "../models/learned-embedding.ts";
import type { StableDiffusion } from "../models/stable-diffusion.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Generator } from "../runtime/random.ts";
import { Painter } from "./evaluate.ts";
import type { SearchState } from "./objective.ts";
import type { ResolvedOptions } from "./options.ts";
import { restoreRandom, saveRandom } from "./random-state.ts";
import type { AttackEvent, AttackState, Evaluation } from "./types.ts";

export type EventHandler = (event: AttackEvent) => void | Promise<void>;

/** What is evaluated and when. */
export interface Candidate {
  readonly prompt: string;
  readonly timestep: number;
  readonly seed: number;
  /** Mean loss since the last evaluation; null without iterations. */
  readonly loss: number | null;
  /** A word of the prompt that has an embedding of its own. */
  readonly learned?: LearnedEmbedding;
}

const NO_ROWS = new Float32Array(0);

/** What all attackers share in one attack: the pictures drawn so far, the count of work done, and what is told to the caller. */
export class Session {
  readonly evaluations: Evaluation[];
  /** Gradient iterations or tries done. */
  iteration: number;
  /** Timesteps or tries finished. */
  finished: number;
  private readonly painter: Painter;
  private image: RgbImage | undefined;

  /** @throws UsageError if `options.resume` is of another attack; SchedulerConfigError */
  constructor(readonly model: StableDiffusion, readonly options: ResolvedOptions, readonly emit: EventHandler) {
    const { resume } = options;
    this.painter = new Painter(model, options);
    this.evaluations = [...(resume?.evaluations ?? [])];
    this.iteration = resume?.iteration ?? 0;
    this.finished = resume?.finished ?? 0;
    if (resume) checkResume(options, resume);
  }

  get succeeded(): boolean {
    return this.evaluations.at(-1)?.judgement.success ?? false;
  }

  /** The search's generator: as it was left, or the one `make` gives at the start. @throws UsageError for a broken state */
  random(make: () => Generator): Generator {
    return this.options.resume ? restoreRandom(this.options.resume.random) : make();
  }

  /** Draws the candidate and has it judged, unless it is the same as the last one. @throws AbortError; whatever the judge or the event handler throws */
  async evaluate({ prompt, timestep, seed, loss, learned }: Candidate): Promise<Evaluation> {
    const { model, options, emit, iteration } = this;
    options.signal?.throwIfAborted();
    const { tokenizer } = model;
    const ids = (learned ? unframed(learnedPrompt(model, prompt, [learned]).ids, tokenizer) : tokenizer.tokenize(prompt)).slice(0, tokenizer.maxLength - 2);
    const last = this.evaluations.at(-1);
    const unchanged = learned === undefined && last !== undefined && last.seed === seed && last.ids.join() === ids.join();
    const started = performance.now();
    const drawn = last === undefined ? options.drawn : undefined;
    if (drawn) this.image = drawn.image;
    // After a resumption the last picture is not there: it is drawn again, which gives the same one.
    else if (!unchanged || !this.image) this.image = await this.painter.draw(prompt, seed, (step, steps) => emit({ type: "sampling", step, steps }), learned);
    const judgement = drawn?.judgement ?? (unchanged ? last.judgement : await options.judge(this.image));
    const milliseconds = drawn?.milliseconds ?? performance.now() - started;
    const evaluation: Evaluation = { timestep, iteration, ids, prompt, loss, seed, judgement, milliseconds, unchanged };
    this.evaluations.push(evaluation);
    await emit({ type: "evaluation", evaluation, image: this.image, ...(learned && { learned }) });
    return evaluation;
  }

  /** Tells the caller where the attack stands. @param other what the attacker keeps besides, as JSON */
  async saveState(random: Generator, rows?: SearchState, other?: unknown): Promise<void> {
    const { simplex = NO_ROWS, firstMoment = NO_ROWS, secondMoment = NO_ROWS } = rows ?? {};
    const { finished, iteration } = this;
    const state: AttackState = { attacker: this.options.attacker, finished, iteration, simplex, firstMoment, secondMoment, random: saveRandom(random), ...(other !== undefined && { search: other }), evaluations: [...this.evaluations] };
    await this.emit({ type: "state", state });
  }
}

/** Framed ids without bos, and without eos and what comes after it. */
function unframed(ids: Uint32Array, { eosId }: { readonly eosId: number }): number[] {
  return [...ids.subarray(1, ids.indexOf(eosId))];
}

function checkResume({ attacker, prompt, seed }: ResolvedOptions, resume: AttackState): void {
  const first = resume.evaluations[0];
  if (!first) throw new UsageError("the state to resume from has no evaluation of the original prompt: start the attack anew");
  const pairs = { attacker: [resume.attacker, attacker], prompt: [first.prompt, prompt], seed: [first.seed, seed] } as const;
  for (const [what, [before, now]] of Object.entries(pairs)) {
    if (before !== now) throw new UsageError(`the state to resume from is of an attack with ${what} ${JSON.stringify(before)}, this one has ${JSON.stringify(now)}: resume with the same settings, or start anew`);
  }
}
