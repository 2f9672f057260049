import { LEARNED_PROMPT, type TimestepOrder } from "../attack/options.ts";
import type { AttackerName } from "../attack/attackers.ts";
import type { Insertion } from "../attack/search/slot-layout.ts";
import type { Vocabulary } from "../attack/search/vocabulary.ts";
import type { NudeNetPresetName } from "../vision/nudenet.ts";
import type { PredictionType } from "../loading/names/infer.ts";
import type { SchedulerName } from "../diffusion/schedulers/index.ts";
import type { LossKind } from "../diffusion/stable-diffusion.ts";

/** Everything that decides an attack's outcome on one adapter, as run.json keeps it. */
export interface AttackSettings {
  readonly model: string;
  readonly unet: string | null;
  readonly textEncoder: string | null;
  readonly lora: string | null;
  readonly ema: boolean;
  readonly predictionType: PredictionType | null;
  readonly config: string | null;
  readonly prompt: string;
  readonly target: string | null;
  /** p4d and judge "diffusion": the model before unlearning; null: `model` without what is laid over it. */
  readonly original: string | null;
  /** transfer: the log of the run whose prompts are tried. */
  readonly from: string | null;
  /** ring-a-bell: the file of its pairs of prompts. */
  readonly conceptPairs: string | null;
  readonly classifier: string | null;
  readonly judge: string | null;
  /** What `judge` takes: see engine/attack/judges/options.ts. */
  readonly judgeModel: string | null;
  readonly judgeTop: number | null;
  readonly judgeThreshold: number | null;
  readonly judgePreset: NudeNetPresetName | null;
  readonly judgePrompts: string | null;
  readonly judgeText: string | null;
  readonly label: string | null;
  readonly attacker: AttackerName;
  readonly tokens: number;
  readonly insert: Insertion;
  readonly vocabulary: Vocabulary;
  readonly iterations: number;
  readonly timesteps: number;
  readonly maxTimesteps: number | null;
  readonly seed: number;
  readonly attackSeed: number | null;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly loss: LossKind;
  readonly projection: "exact" | "reference";
  readonly randomInit: boolean;
  /** One set of tokens for all prompts of a table, and the folder of their pictures. */
  readonly universal: boolean;
  readonly prompts: string | null;
  readonly targets: string | null;
  readonly casesPerStep: number;
  readonly restarts: number;
  readonly timestepsPerStep: number;
  readonly timestepOrder: TimestepOrder;
  readonly gate: "diffusion" | null;
  readonly gateMargin: number;
  readonly gateSamples: number;
  readonly screeningSteps: number | null;
  /** Of cce only. */
  readonly learnedPrompt: string;
  /** Of ring-a-bell only, as the next four. */
  readonly eta: number;
  readonly population: number;
  readonly generations: number;
  readonly mutationRate: number;
  readonly crossoverRate: number;
  readonly steps: number;
  readonly scheduler: SchedulerName;
  readonly guidance: number;
}

/** The published reference's defaults (Diffusion-MU-Attack, text_grad), exact projection aside. */
export const DEFAULTS: Omit<AttackSettings, "model" | "prompt"> = {
  unet: null,
  textEncoder: null,
  lora: null,
  ema: false,
  predictionType: null,
  config: null,
  target: null,
  original: null,
  from: null,
  conceptPairs: null,
  classifier: null,
  judge: null,
  judgeModel: null,
  judgeTop: null,
  judgeThreshold: null,
  judgePreset: null,
  judgePrompts: null,
  judgeText: null,
  label: null,
  attacker: "text-grad",
  tokens: 3,
  insert: "prefix",
  vocabulary: "all",
  iterations: 40,
  timesteps: 50,
  maxTimesteps: null,
  seed: 0,
  attackSeed: null,
  learningRate: 0.01,
  weightDecay: 0.1,
  loss: "mse",
  projection: "exact",
  randomInit: false,
  universal: false,
  prompts: null,
  targets: null,
  casesPerStep: 1,
  restarts: 1,
  timestepsPerStep: 1,
  timestepOrder: "sequence",
  gate: null,
  gateMargin: 0,
  gateSamples: 8,
  screeningSteps: null,
  learnedPrompt: LEARNED_PROMPT,
  eta: 3,
  population: 200,
  generations: 3000,
  mutationRate: 0.25,
  crossoverRate: 0.5,
  steps: 50,
  scheduler: "lms",
  guidance: 7.5,
};

/** The defaults of one attacker: ring-a-bell's tokens are the whole prompt, and it has 16. */
export function defaultsOf(attacker: AttackerName): typeof DEFAULTS {
  return attacker === "ring-a-bell" ? { ...DEFAULTS, tokens: 16 } : DEFAULTS;
}

/** `learningRate` as `--learning-rate`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
}

/** The flags that make these settings, leaving out those at their defaults. */
export function settingsAsFlags(settings: AttackSettings): string[] {
  const defaults = defaultsOf(settings.attacker);
  return Object.entries(settings).flatMap(([key, value]) => {
    if (value === null || value === false || defaults[key as keyof typeof DEFAULTS] === value) return [];
    return value === true ? [flagName(key)] : [flagName(key), String(value)];
  });
}

/** Whether a JSON value has the fields of AttackSettings, each of the right kind. */
export function isSettings(value: unknown): value is AttackSettings {
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Record<string, unknown>;
  const kinds: Record<string, unknown> = { model: "", prompt: "", ...DEFAULTS };
  const nullable: Record<string, string> = { maxTimesteps: "number", attackSeed: "number", screeningSteps: "number", judgeTop: "number", judgeThreshold: "number" };
  return Object.entries(kinds).every(([key, sample]) => {
    const field = fields[key] ?? (key === "vocabulary" ? "all" : fields[key]); // records of before there was a choice
    return sample === null ? field === null || typeof field === (nullable[key] ?? "string") : typeof field === typeof sample;
  });
}
