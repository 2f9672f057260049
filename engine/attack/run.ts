import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { type ResolvedOptions, resolveOptions } from "./resolve.ts";
import { type EventHandler, Session } from "./session/session.ts";
import { textGrad } from "./text-grad.ts";
import type { AttackOptions } from "./options.ts";
import type { AttackResult, TriedCounts } from "./events.ts";
import { type AttackerName, type ProbeName, isProbe, usesGradient } from "./attackers.ts";
import type { ProbeResult } from "./probes/controls.ts";
import type { Evaluation } from "./session/evaluation.ts";

/** What searches, but for probes; "no-attack" is the evaluation of the original prompt and nothing more. */
const SEARCHES: Readonly<Record<Exclude<AttackerName, ProbeName>, ((session: Session) => Promise<void>) | undefined>> = {
  "text-grad": textGrad,
  "hard-prompt": async (session) => (await import("./hard-prompt.ts")).hardPrompt(session),
  p4d: async (session) => (await import("./hard-prompt.ts")).p4d(session),
  cce: async (session) => (await import("./cce.ts")).cce(session),
  "ring-a-bell": async (session) => (await import("./ring-a-bell.ts")).ringABell(session),
  "mma-text": async (session) => (await import("./mma-text.ts")).mmaText(session),
  "synonym-search": async (session) => (await import("./synonym-search.ts")).synonymSearch(session),
  random: async (session) => (await import("./random.ts")).randomTokens(session),
  "seed-search": async (session) => (await import("./seed-search.ts")).seedSearch(session),
  transfer: async (session) => (await import("./transfer.ts")).transfer(session),
  "no-attack": undefined,
};

function searchOf(attacker: AttackerName): ((session: Session) => Promise<void>) | undefined {
  if (!isProbe(attacker)) return SEARCHES[attacker];
  return async (session) => (await import("./probes/run.ts")).runProbe(session, attacker);
}

/**
 * Attacks a model: draws the original prompt and has it judged, then searches as `options.attacker` says until a picture succeeds or the
 * budget is used up.
 * The same options and adapter give the same tokens; a resumed attack gives those of an uninterrupted one.
 * @param onEvent awaited, so that what it writes is written in order; what it throws ends the attack
 * @throws UsageError for options that cannot be; AbortError when `options.signal` fires; LetheError for a loss that is not a number;
 * DeviceLostError, GpuError
 */
export async function attack(
  model: StableDiffusion,
  options: AttackOptions,
  onEvent: EventHandler = () => undefined,
): Promise<AttackResult> {
  if (typeof options?.judge !== "function") throw new TypeError("attack: options.judge must be a function that judges a picture");
  if (typeof options.prompt !== "string") throw new TypeError(`attack: options.prompt must be a text, got ${typeof options.prompt}`);
  return attackResolved(model, resolveOptions(model, options), onEvent);
}

/** The same with options that are resolved. @throws as `attack`, but for the options */
export function attackResolved(model: StableDiffusion, options: ResolvedOptions, onEvent: EventHandler): Promise<AttackResult> {
  return attackIn(new Session(model, options, onEvent), searchOf(options.attacker));
}

/** The attack of a session: its original prompts, then a search. @throws as `attack`, but for the options */
export async function attackIn(session: Session, search: ((session: Session) => Promise<void>) | undefined): Promise<AttackResult> {
  const started = performance.now();
  const { options, evaluations } = session;
  await session.emit({ type: "start", totalIterations: iterationsOf(options) });
  if (evaluations.length === 0) {
    for (const [i, { prompt, seed }] of options.cases.entries()) {
      await session.evaluate({ prompt, timestep: -1, seed, loss: null, case: i });
    }
  }
  if (!session.succeeded) await search?.(session);
  return result(session, await resultOfProbe(session), (performance.now() - started) / 1000);
}

/** What a probe and its controls came to; undefined of other attackers, and where nothing was left to probe. */
async function resultOfProbe({ options, evaluations }: Session): Promise<ProbeResult | undefined> {
  if (!isProbe(options.attacker) || evaluations.every((e) => e.timestep < 0)) return undefined;
  return (await import("./probes/controls.ts")).probeResult(options.attacker, evaluations);
}

/** Iterations, generations or tries if nothing succeeds. */
function iterationsOf(options: ResolvedOptions): number {
  const { attacker, schedule, iterations, generations, textIterations, tries, timestepsPerStep } = options;
  if (usesGradient(attacker)) return (attacker === "cce" ? schedule.length : schedule.length / timestepsPerStep) * iterations;
  if (attacker === "no-attack" || isProbe(attacker)) return 0;
  if (attacker === "mma-text") return textIterations * tries;
  return attacker === "ring-a-bell" ? generations : tries;
}

function result(session: Session, probe: ProbeResult | undefined, seconds: number): AttackResult {
  const { evaluations, iteration, options } = session;
  const groups = session.candidates();
  const several = options.cases.length > 1;
  const drew = (group: readonly Evaluation[]): number => group.filter((e) => e.judgement.success).length;
  const best = several ? groups.reduce((a, b) => (drew(b) > drew(a) ? b : a)) : groups.at(-1)!;
  const last = isProbe(options.attacker) ? bestTry(groups.flat()) : several ? best[0]! : best.at(-1)!;
  const success = isProbe(options.attacker) ? last.judgement.success : session.succeeded;
  const { score, label } = last.judgement;
  return {
    success,
    prompt: options.prompt,
    adversarialPrompt: last.prompt,
    adversarialIds: last.ids,
    iterations: iteration,
    timestep: success ? last.timestep : null,
    ...(last.notPortable !== undefined && { notPortable: last.notPortable }),
    preSuccess: drew(groups[0]!) === options.cases.length,
    score,
    label,
    seed: last.seed,
    ...(several && { universal: { successes: drew(best), preSuccesses: drew(groups[0]!), cases: options.cases.length } }),
    ...((options.gate || options.screeningSteps !== null) && { tried: countTried(evaluations) }),
    ...(probe && { probe }),
    seconds,
  };
}

/** The first success, or else what the judge came nearest to calling the concept. */
function bestTry(tries: readonly Evaluation[]): Evaluation {
  return tries.find((e) => e.judgement.success) ?? tries.reduce((a, b) => (b.judgement.score > a.judgement.score ? b : a));
}

/** What became of the prompts that a gate or a screening saw: every one is stopped by one of them or drawn in full. */
function countTried(evaluations: readonly Evaluation[]): TriedCounts {
  const tried = evaluations.filter((e) => e.timestep >= 0);
  const count = (test: (e: Evaluation) => boolean | undefined): number => tried.filter(test).length;
  const gatedOut = count((e) => e.gate?.passed === false);
  const screened = count((e) => e.screening !== undefined);
  const screenedOut = count((e) => e.screening?.passed === false);
  const drawn = tried.length - gatedOut - screened;
  return { candidates: gatedOut + screenedOut + drawn, gatedOut, screened, screenedOut, drawn };
}
