import type { Tokenizer } from "../../tokenizer/index.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { type Values, whole } from "../options/option.ts";
import { checked, filledIn } from "../options/values.ts";
import { requireTextToImage } from "../loading/check-weights.ts";
import { UsageError } from "../runtime/errors.ts";
import {
  ATTACKERS, type AttackerName, comparesWithOriginal, insertsTokens, needsPicture, promptProblem, usesGradient,
} from "./attackers.ts";
import {
  checkBatch, checkControlModel, checkControlPicture, checkOriginal, checkTransport, commonLatentSize,
} from "./check-options.ts";
import { ATTACK_OPTIONS, GATE_OPTIONS } from "./option-table.ts";
import type { AttackCase, AttackOptions } from "./options.ts";
import { type Insertion, slotLayout } from "./search/slot-layout.ts";

/** Options with the defaults filled in, and what follows from them and the model. */
export interface ResolvedOptions
  extends Omit<AttackOptions, keyof typeof ATTACK_OPTIONS | "cases" | "gate">, Values<typeof ATTACK_OPTIONS> {
  readonly gate?: Values<typeof GATE_OPTIONS>;
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
  checked("timesteps", whole({ default: null, min: 1, max: total, help: "" }), count);
  const stride = Math.floor(total / count);
  return Array.from({ length: count }, (_, i) => Math.floor(stride / 2) + i * stride);
}

/**
 * Checks options against each other and the model.
 * @throws UsageError naming the option, what it is and what it may be
 */
export function resolveOptions(model: StableDiffusion, options: AttackOptions): ResolvedOptions {
  const attacker = checked("attacker", ATTACK_OPTIONS.attacker, options.attacker);
  const values = filledIn(ATTACK_OPTIONS, options, attacker);
  requireTextToImage(model);
  const { iterations, guidance, tokens, insert, maxTimesteps } = values;
  const timesteps = attackTimesteps(model.alphasCumprod.length, values.timesteps);
  const cases = (options.cases ?? [options]).map((one) => resolveCase(model, attacker, one, guidance));
  const { maxLength, vocabularySize } = model.tokenizer;
  const inserts = insertsTokens(attacker);
  if (cases.length === 0) throw new UsageError("there is no case to attack: give at least one prompt");
  if (options.cases && !inserts) {
    throw new UsageError(
      `attacker "${attacker}" puts no tokens into prompts, so there are none for several prompts; universal attacks are ` +
        `${ATTACKERS.filter(insertsTokens).join(", ")}`,
    );
  }
  if (model.parts.transport) checkTransport(values, options.gate, cases.length);
  const { safree } = values;
  if (safree !== null || options.draw) {
    const problem = safree !== null && (options.draw || model.isXl)
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
  const candidates = options.candidates?.length ?? 0;
  if (attacker === "transfer" && candidates === 0) {
    throw new UsageError(`attacker "transfer" needs prompts to try that were found elsewhere`);
  }
  if (comparesWithOriginal(attacker)) checkOriginal(model, attacker, options.original);
  if (options.controlModel) checkControlModel(model, options.controlModel);
  if (options.controlPicture) checkControlPicture(cases[0]!, options.controlPicture);
  const rings = attacker === "ring-a-bell";
  if (rings || attacker === "mma-text") checked("tokens", { ...ATTACK_OPTIONS.tokens, max: maxLength - 2 }, tokens);
  if (rings && !options.conceptPairs?.length) {
    throw new UsageError(`attacker "ring-a-bell" needs pairs of prompts, with the concept and without`);
  }
  // refuses what does not fit before anything is drawn
  if (inserts) for (const { promptIds } of cases) slotLayout(insert, tokens, promptIds.length, maxLength);
  const schedule = timesteps.slice(0, maxTimesteps ?? undefined);
  checked("steps", { ...ATTACK_OPTIONS.steps, max: model.alphasCumprod.length }, values.steps);
  checkBatch(attacker, values, schedule.length, cases.length);
  const { gate, ...rest } = options;
  return {
    ...rest,
    ...values,
    schedule,
    timestepChoices: timesteps,
    ...resolveGate(attacker, gate, cases, values),
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
  const { prompt, target, seed } = one;
  return {
    prompt,
    seed: checked("seed", ATTACK_OPTIONS.seed, seed),
    promptIds,
    guidance: checked("guidance", ATTACK_OPTIONS.guidance, one.guidance ?? guidance),
    ...(target && { target }),
  };
}

/** What is done before a prompt is drawn in full. @throws UsageError for a gate without a picture, or a screening that is not shorter */
function resolveGate(
  attacker: AttackerName,
  gate: AttackOptions["gate"],
  cases: readonly ResolvedCase[],
  { screeningSteps, steps }: Values<typeof ATTACK_OPTIONS>,
): Pick<ResolvedOptions, "gate"> {
  checked("screeningSteps", { ...ATTACK_OPTIONS.screeningSteps, max: steps - 1 }, screeningSteps);
  if (!gate) return {};
  if (cases.some((c) => !c.target)) {
    throw new UsageError("a gate needs a target: a picture of the concept, under which prompts are compared");
  }
  if (attacker === "seed-search") throw new UsageError("a gate compares prompts, and seed-search has only the one");
  return { gate: filledIn(GATE_OPTIONS, gate) };
}
