import type { Tokenizer } from "../../tokenizer/index.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { checked, filledIn } from "../options/values.ts";
import { requireTextToImage } from "../loading/check-weights.ts";
import { UsageError } from "../runtime/errors.ts";
import {
  ATTACKERS, type AttackerName, comparesWithOriginal, insertsTokens, needsPicture, promptProblem, usesGradient,
} from "./attackers.ts";
import {
  atMost, checkBatch, checkControlModel, checkControlPicture, checkGate, checkOriginal, checkTransport, commonLatentSize,
} from "./check-options.ts";
import { ATTACK_OPTIONS, GATE_OPTIONS } from "./option-table.ts";
import type { AttackCase, AttackOptions, AttackParts, AttackValues } from "./options.ts";
import { type Insertion, slotLayout } from "./search/slot-layout.ts";

/** Options with the defaults filled in, and what follows from them and the model. */
export interface ResolvedOptions extends Omit<AttackParts, "cases">, AttackValues {
  /** Timesteps to attack at, in order. */
  readonly schedule: readonly number[];
  /** Tries of the attackers without a gradient. */
  readonly tries: number;
  /** All timesteps that `schedule` is taken from. */
  readonly timestepChoices: readonly number[];
  /** What is attacked: the one prompt, or those of a universal attack. */
  readonly cases: readonly ResolvedCase[];
  /** Latent height and width of the pictures drawn. */
  readonly latentSize: readonly [number, number];
}

export interface ResolvedCase extends AttackCase {
  /** Ids of the prompt without frame and padding. */
  readonly promptIds: readonly number[];
  readonly guidance: number;
}

/**
 * The timesteps of the reference: `total` divided into `count` parts, the middle of each (classifier_.py `sampled_t`): 10 of 1000 are 50,
 * 150, ... 950.
 * @throws UsageError unless count is a whole number from 1 to total
 */
export function attackTimesteps(total: number, count: number): number[] {
  if (!Number.isSafeInteger(count) || count < 1 || count > total) {
    throw new UsageError(`timesteps must be a whole number from 1 to ${total}, got ${count}`);
  }
  const stride = Math.floor(total / count);
  return Array.from({ length: count }, (_, i) => Math.floor(stride / 2) + i * stride);
}

/**
 * Checks a caller's options one by one, fills in the defaults, and goes on as `resolveAttack`.
 * @throws UsageError naming the option, what it is and what it may be
 */
export function resolveOptions(model: StableDiffusion, options: AttackOptions): ResolvedOptions {
  const attacker = checked("attacker", ATTACK_OPTIONS.attacker, options.attacker);
  const values = filledIn(ATTACK_OPTIONS, options, attacker);
  for (const { seed, guidance } of options.cases ?? []) {
    checked("seed", ATTACK_OPTIONS.seed, seed);
    checked("guidance", ATTACK_OPTIONS.guidance, guidance ?? values.guidance);
  }
  return resolveAttack(model, values, { ...options, gate: options.gate && filledIn(GATE_OPTIONS, options.gate) });
}

/**
 * Checks values that are good by themselves, and what an attack is given, against each other and the model.
 * @throws UsageError naming the option, what it is and what it may be
 */
export function resolveAttack(model: StableDiffusion, values: AttackValues, parts: AttackParts): ResolvedOptions {
  requireTextToImage(model);
  const { attacker, iterations, guidance, tokens, insert, maxTimesteps, seed } = values;
  const timesteps = attackTimesteps(model.alphasCumprod.length, values.timesteps);
  const { prompt, target } = parts;
  const cases = (parts.cases ?? [{ prompt, target, seed }]).map((one) => resolveCase(model, attacker, one, guidance));
  const { maxLength, vocabularySize } = model.tokenizer;
  const inserts = insertsTokens(attacker);
  if (cases.length === 0) throw new UsageError("there is no case to attack: give at least one prompt");
  if (parts.cases && !inserts) {
    throw new UsageError(
      `attacker "${attacker}" puts no tokens into prompts, so there are none for several prompts; universal attacks are ` +
        `${ATTACKERS.filter(insertsTokens).join(", ")}`,
    );
  }
  if (model.parts.transport) checkTransport(values, parts.gate, cases.length);
  const { safree } = values;
  if (safree !== null || parts.draw) {
    const problem = safree !== null && (parts.draw || model.isXl)
      ? "safree defends what a model with one text encoder draws itself"
      : promptProblem(safree === null ? "draw" : "safree", attacker);
    if (problem !== undefined) throw new UsageError(problem);
  }
  if (usesGradient(attacker)) {
    const { vocabularySize: rows } = model.text;
    if (rows !== vocabularySize) {
      throw new UsageError(
        `the tokenizer knows ${vocabularySize} tokens, but the text encoder's table has ${rows} rows: the two do not belong together`,
      );
    }
  }
  const candidates = parts.candidates?.length ?? 0;
  if (attacker === "transfer" && candidates === 0) {
    throw new UsageError(`attacker "transfer" needs prompts to try that were found elsewhere`);
  }
  if (comparesWithOriginal(attacker)) checkOriginal(model, attacker, parts.original);
  if (parts.controlModel) checkControlModel(model, parts.controlModel);
  if (parts.controlPicture) checkControlPicture(cases[0]!, parts.controlPicture);
  const rings = attacker === "ring-a-bell";
  if (rings || attacker === "mma-text") atMost("tokens", tokens, maxLength - 2);
  if (rings && !parts.conceptPairs?.length) {
    throw new UsageError(`attacker "ring-a-bell" needs pairs of prompts, with the concept and without`);
  }
  // refuses what does not fit before anything is drawn
  if (inserts) for (const { promptIds } of cases) slotLayout(insert, tokens, promptIds.length, maxLength);
  const schedule = timesteps.slice(0, maxTimesteps ?? undefined);
  atMost("steps", values.steps, model.alphasCumprod.length);
  atMost("screeningSteps", values.screeningSteps, values.steps - 1);
  checkBatch(values, schedule.length, cases.length);
  if (parts.gate) checkGate(attacker, cases);
  return {
    ...parts,
    ...values,
    schedule,
    timestepChoices: timesteps,
    tries:
      attacker === "transfer"
        ? Math.min(candidates, maxTimesteps ?? candidates)
        : (maxTimesteps ?? (rings || attacker === "mma-text" ? 1 : iterations)),
    cases,
    latentSize: commonLatentSize(model, cases),
  };
}

/** What of an attack decides whether its prompt can be attacked at all. */
export interface PromptOfAttack {
  readonly attacker: AttackerName;
  readonly prompt: string;
  readonly tokens: number;
  readonly insert: Insertion;
}

/** Why a prompt cannot be attacked: it is empty, or has no room for the tokens; undefined if it can. */
export function whyNotAttackable(
  tokenizer: Pick<Tokenizer, "tokenize" | "maxLength">,
  { attacker, prompt, tokens, insert }: PromptOfAttack,
): string | undefined {
  try {
    const { length } = checkPromptLength(tokenizer, attacker, prompt);
    if (insertsTokens(attacker)) slotLayout(insert, tokens, length, tokenizer.maxLength);
    return undefined;
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
}

/** @returns the prompt's ids @throws UsageError for a prompt that is empty where one is needed, or too long */
function checkPromptLength(tokenizer: Pick<Tokenizer, "tokenize" | "maxLength">, attacker: AttackerName, prompt: string): number[] {
  const ids = tokenizer.tokenize(prompt);
  const room = tokenizer.maxLength - 2;
  if (ids.length === 0 && attacker !== "no-attack" && attacker !== "seed-search") {
    throw new UsageError("the prompt is empty: give the prompt that should draw the concept");
  }
  if (insertsTokens(attacker) && ids.length > room) {
    throw new UsageError(`the prompt has ${ids.length} tokens, this model takes ${room}: use a shorter prompt`);
  }
  return ids;
}

/** @throws UsageError for a prompt that is empty or too long, or a picture that is missing */
function resolveCase(model: StableDiffusion, attacker: AttackerName, one: AttackCase, guidance: number): ResolvedCase {
  const promptIds = checkPromptLength(model.tokenizer, attacker, one.prompt);
  if (needsPicture(attacker) && !one.target) throw new UsageError(`attacker "${attacker}" needs a target: a picture of the concept`);
  return { ...one, promptIds, guidance: one.guidance ?? guidance };
}
