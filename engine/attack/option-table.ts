import { SCHEDULER_NAMES } from "../diffusion/schedulers/index.ts";
import type { LossKind } from "../diffusion/stable-diffusion.ts";
import { SEED_RANGE, choice, flag, number, text, whole } from "../options/option.ts";
import { ATTACKERS, insertsTokens, usesGradient } from "./attackers.ts";
import { PROBE_OPTIONS } from "./probes/option-table.ts";
import { INSERTIONS } from "./search/slot-layout.ts";
import { VOCABULARIES } from "./search/vocabulary.ts";

/**
 * The word that `cce` learns, and the prompt it is learned and judged in unless another is given: a template of textual inversion (arXiv
 * 2208.01618).
 */
export const LEARNED_WORD = "<cce>";
const LEARNED_PROMPT = `a picture of ${LEARNED_WORD}`;

/** In which order timesteps are attacked. */
export const TIMESTEP_ORDERS = ["sequence", "gradient"] as const;
export type TimestepOrder = (typeof TIMESTEP_ORDERS)[number];

const LOSSES = ["mse", "l1"] as const satisfies readonly LossKind[];
const PROJECTIONS = ["exact", "reference"] as const;

const GRADIENT = ATTACKERS.filter(usesGradient);
const TOKENS = ATTACKERS.filter(insertsTokens);
/** Those that search for tokens by gradient. */
const SEARCHES = GRADIENT.filter(insertsTokens);
const RINGS = ["ring-a-bell"] as const;
const MMA = ["mma-text"] as const;

/**
 * What every attack is told of how to search and how to draw. Defaults are those of the published reference code (Diffusion-MU-Attack,
 * configs/*_text_grad_*.json).
 */
export const ATTACK_OPTIONS = {
  attacker: choice(ATTACKERS, { default: "text-grad", help: "how the prompt is searched" }),
  tokens: whole({
    default: 3,
    defaultOf: { "ring-a-bell": 16, "mma-text": 20 },
    defaultNote: "3; of those whose tokens are the whole prompt: ring-a-bell 16, mma-text 20",
    min: 1,
    max: 1000,
    of: [...TOKENS, ...RINGS, ...MMA],
    value: "k",
    help: "adversarial tokens",
  }),
  insert: choice(INSERTIONS, { default: "prefix", of: TOKENS, value: "place", help: "where the tokens go" }),
  vocabulary: choice(VOCABULARIES, {
    default: "all",
    of: [...TOKENS, ...RINGS, ...MMA],
    value: "which",
    help:
      "tokens that a search may choose: all, as the reference; typeable, which can be typed and pasted and are read alike by all " +
      "CLIP tokenizers; words",
  }),
  iterations: whole({ default: 40, min: 1, of: GRADIENT, help: "gradient steps at each timestep" }),
  timesteps: whole({ default: 50, min: 1, of: GRADIENT, help: "timesteps the schedule is divided into, taken from the least noisy" }),
  maxTimesteps: whole({
    default: null,
    min: 1,
    defaultNote: "all",
    help:
      "stop after this many of them; random, seed-search, transfer, synonym-search, noise-probe and latent-classifier: tries; " +
      "ring-a-bell and mma-text: prompts drawn, by default 1",
  }),
  seed: whole({ default: 0, ...SEED_RANGE, help: "seed of the pictures' noise, as torch's CPU generator" }),
  attackSeed: whole({
    default: null,
    ...SEED_RANGE,
    defaultNote: "0; random: goes on after the first picture's noise",
    help: "seed of the search",
  }),
  learningRate: number({ default: 0.01, min: 0, above: true, of: GRADIENT, value: "r", help: "of Adam" }),
  weightDecay: number({ default: 0.1, min: 0, of: GRADIENT, value: "d", help: "of Adam, L2 form" }),
  loss: choice(LOSSES, { default: "mse", of: GRADIENT, value: "kind", help: "between predicted and true noise" }),
  projection: choice(PROJECTIONS, {
    default: "exact",
    of: ["text-grad"],
    value: "kind",
    help: "onto the simplex: exact, or the reference's bisection",
  }),
  randomInit: flag({ of: ["text-grad"], help: "start from random rows instead of every token alike" }),
  casesPerStep: whole({
    default: 1,
    min: 1,
    max: 1000,
    of: TOKENS,
    help: "--universal: prompts that an iteration sees at once, in turn; its loss is their mean",
  }),
  restarts: whole({
    default: 1,
    min: 1,
    max: 64,
    of: SEARCHES,
    value: "r",
    help: "searches side by side in one batch, of seeds --attack-seed, + 1, ...; least loss is judged first",
  }),
  timestepsPerStep: whole({
    default: 1,
    min: 1,
    max: 64,
    of: GRADIENT,
    help: "neighbouring timesteps attacked together in one batch; their mean loss is followed; for cce: random ones",
  }),
  timestepOrder: choice(TIMESTEP_ORDERS, {
    default: "sequence",
    of: SEARCHES,
    value: "order",
    help: "gradient: those with the largest gradient first, measured before the search",
  }),
  screeningSteps: whole({
    default: null,
    min: 1,
    max: 999,
    value: "s",
    defaultNote: "always in full",
    help: "draw with so few steps first, and in full only where the judge sees the concept",
  }),
  learnedPrompt: text({
    default: LEARNED_PROMPT,
    of: ["cce"],
    defaultNote: `"${LEARNED_PROMPT}"; for a style such as "a house in ${LEARNED_WORD} style"`,
    help: `the prompt that ${LEARNED_WORD} is learned and judged in`,
    check: learnedPromptProblem,
  }),
  eta: number({ default: 3, of: RINGS, value: "n", help: "concept vectors that the prompt's encoding is moved by" }),
  population: whole({ default: 200, min: 2, max: 100_000, of: RINGS, help: "token lists in a generation" }),
  generations: whole({ default: 3000, min: 1, of: RINGS, help: "how many" }),
  mutationRate: number({ default: 0.25, min: 0, max: 1, of: RINGS, value: "p", help: "probability that a list has a token exchanged" }),
  crossoverRate: number({ default: 0.5, min: 0, max: 1, of: RINGS, value: "p", help: "probability that a parent has two children" }),
  textIterations: whole({ default: 500, min: 1, of: MMA, help: "exchanges of one token" }),
  topTokens: whole({ default: 256, min: 1, of: MMA, value: "k", help: "tokens of each place that the gradient puts first" }),
  trials: whole({ default: 512, min: 1, of: MMA, help: "prompts with one of them exchanged that are encoded in each iteration" }),
  synonyms: whole({
    default: 10, min: 1, max: 1000, of: ["synonym-search"], help: "words that each word may become, the nearest by the token table",
  }),
  steps: whole({ default: 50, min: 1, max: 1000, help: "sampling steps of the judged pictures" }),
  scheduler: choice(SCHEDULER_NAMES, { default: "lms", defaultNote: "lms, as the reference", help: "sampler of the judged pictures" }),
  guidance: number({ default: 7.5, min: 0, value: "scale", help: "guidance of the judged pictures" }),
  safree: text({
    default: null,
    value: "phrases",
    defaultNote: "no defence",
    help: "SAFREE, a defence in code: judged pictures are drawn with the prompt moved away from these phrases, separated by semicolons",
    check: (list) => (/[^\s;]/.test(list) ? undefined : "must be phrases, separated by semicolons"),
  }),
  ...PROBE_OPTIONS,
};

/** What a gate is told: see `GateOptions`. */
export const GATE_OPTIONS = {
  margin: number({ default: 0, min: -0.99, max: 0.99, help: "by what part of the original prompt's error" }),
  samples: whole({ default: 8, min: 1, max: 100, help: "at how many timesteps the two are compared" }),
};

function learnedPromptProblem(prompt: string): string | undefined {
  return prompt.split(LEARNED_WORD).length === 2 ? undefined : `must have ${LEARNED_WORD} in it once, the word that is learned`;
}
