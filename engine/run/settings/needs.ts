import { comparesWithOriginal, isProbe, readsOriginalText } from "../../attack/attackers.ts";
import { ATTACK_OPTIONS } from "../../attack/option-table.ts";
import type { AttackParts, AttackValues } from "../../attack/options.ts";
import { judgesByOriginal } from "./judge.ts";
import type { ModelOptions } from "./model-options.ts";
import type { AttackSettings } from "./settings.ts";

/** The models of a run. */
export interface NeededModels {
  readonly attacked: ModelOptions;
  /**
   * The model before unlearning: to compare with, or whose text encoder a black-box search knows, which is the attacked model's own unless
   * something was laid over it.
   */
  readonly original?: ModelOptions | undefined;
  /** A model that never saw the concept, for a probe that is compared with one. */
  readonly control?: ModelOptions | undefined;
}

/** Settings that name a file or a folder besides models and judges, as every attacker takes them, and as probes alone do. */
const OF_ALL = ["target", "from", "conceptPairs", "prompts", "targets"] as const;
const OF_PROBES = ["controlUnet", "controlPicture", "conceptPictures", "otherPictures", "mask"] as const;

/** Names of files and folders by their settings; null for what is not named, or not used. */
export type NeededFiles = Readonly<Record<(typeof OF_ALL)[number] | (typeof OF_PROBES)[number], string | null>>;

/** What a run's settings ask for, sorted by who provides it: whoever opens, reads or searches takes a part and knows no other. */
export interface RunNeeds {
  readonly models: NeededModels;
  readonly files: NeededFiles;
  /** The search's options, and what else of it is no file. */
  readonly values: AttackValues;
  readonly given: Pick<AttackParts, "prompt" | "gate">;
}

/** Sorts a run's settings. */
export function needsOf(settings: AttackSettings): RunNeeds {
  const { attacker, prompt, gate, gateMargin, gateSamples } = settings;
  const files = isProbe(attacker) ? [...OF_ALL, ...OF_PROBES] : OF_ALL;
  const unread = Object.fromEntries(OF_PROBES.map((name) => [name, null]));
  return {
    models: modelsOf(settings),
    files: { ...unread, ...only(files, settings) } as NeededFiles,
    values: only(Object.keys(ATTACK_OPTIONS) as (keyof AttackValues)[], settings),
    given: { prompt, gate: gate === null ? undefined : { margin: gateMargin, samples: gateSamples } },
  };
}

function modelsOf(settings: AttackSettings): NeededModels {
  const { attacker, model, original, unet, textEncoder, lora, ema, predictionType, config, controlModel, controlUnet } = settings;
  const reads = readsOriginalText(attacker) && (original !== null || textEncoder !== null || lora !== null);
  const before = original === null ? { model, ema, predictionType, config } : { model: original };
  const controlled = isProbe(attacker) && (controlModel !== null || controlUnet !== null);
  return {
    attacked: { model, unet, textEncoder, lora, ema, predictionType, config },
    original: comparesWithOriginal(attacker) || reads || judgesByOriginal(settings) ? before : undefined,
    control: controlled ? { model: controlModel ?? model, unet: controlUnet } : undefined,
  };
}

/** These of an object's fields. */
function only<T, K extends keyof T>(names: readonly K[], fields: T): Pick<T, K> {
  return Object.fromEntries(names.map((name) => [name, fields[name]])) as unknown as Pick<T, K>;
}
