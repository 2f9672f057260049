import type { StableDiffusion } from "../models/stable-diffusion.ts";
import { type ResolvedOptions, resolveOptions } from "./options.ts";
import { cce } from "./cce.ts";
import { hardPrompt, p4d } from "./hard-prompt.ts";
import { ringABell } from "./ring-a-bell.ts";
import { randomTokens } from "./random.ts";
import { seedSearch } from "./seed-search.ts";
import { type EventHandler, Session } from "./session.ts";
import { textGrad } from "./text-grad.ts";
import { transfer } from "./transfer.ts";
import { type AttackOptions, type AttackResult, type AttackerName, usesGradient } from "./types.ts";

/** "no-attack" is the evaluation of the original prompt and nothing more. */
const SEARCHES: Readonly<Record<AttackerName, ((session: Session) => Promise<void>) | undefined>> = {
  "text-grad": textGrad,
  "hard-prompt": hardPrompt,
  p4d,
  cce,
  "ring-a-bell": ringABell,
  random: randomTokens,
  "seed-search": seedSearch,
  transfer,
  "no-attack": undefined,
};

/**
 * Attacks a model: draws the original prompt and has it judged, then searches as `options.attacker` says until a picture succeeds or the budget is used up.
 * The same options and adapter give the same tokens; a resumed attack gives those of an uninterrupted one.
 * @param onEvent awaited, so that what it writes is written in order; what it throws ends the attack
 * @throws UsageError for options that cannot be; AbortError when `options.signal` fires; LetheError for a loss that is not a number; DeviceLostError, GpuError
 */
export async function attack(model: StableDiffusion, options: AttackOptions, onEvent: EventHandler = () => undefined): Promise<AttackResult> {
  const started = performance.now();
  const resolved = resolveOptions(model, options);
  const session = new Session(model, resolved, onEvent);
  const { attacker, prompt, seed } = resolved;
  await onEvent({ type: "start", totalIterations: iterationsOf(resolved) });
  if (session.evaluations.length === 0) await session.evaluate({ prompt, timestep: -1, seed, loss: null });
  if (!session.succeeded) await SEARCHES[attacker]?.(session);
  return result(session, (performance.now() - started) / 1000);
}

/** Iterations, generations or tries if nothing succeeds. */
function iterationsOf({ attacker, schedule, iterations, generations, tries }: ResolvedOptions): number {
  if (usesGradient(attacker)) return schedule.length * iterations;
  if (attacker === "no-attack") return 0;
  return attacker === "ring-a-bell" ? generations : tries;
}

function result({ evaluations, iteration, options }: Session, seconds: number): AttackResult {
  const last = evaluations.at(-1)!;
  const { success, score, label } = last.judgement;
  return {
    success,
    prompt: options.prompt,
    adversarialPrompt: last.prompt,
    adversarialIds: last.ids,
    iterations: iteration,
    timestep: success ? last.timestep : null,
    preSuccess: evaluations[0]!.judgement.success,
    score,
    label,
    seed: last.seed,
    seconds,
  };
}
