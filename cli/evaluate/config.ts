import { existsSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { AttackerName } from "../../engine/attack/attackers.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { parseJson } from "../../engine/formats/file-system.ts";
import type { SchedulerName } from "../../engine/diffusion/schedulers/index.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { JUDGE_OPTIONS, type JudgeSettings, judgeSettingProblems } from "../../engine/run/settings/judge.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import { MODEL_OPTIONS, type ModelOptions, parseLora } from "../../engine/run/settings/model-options.ts";
import type { QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import type { Given } from "../../engine/options/option.ts";
import { defaultsOf, fileOptions, pick } from "../../engine/options/values.ts";
import { type GivenUnlearn, UNLEARN_COMMAND_OPTIONS } from "../../engine/run/unlearn/settings.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import { EVALUATION_SCHEMA, QUALITY_FILES_NAMED, SEARCH_OPTIONS } from "./evaluation-schema.ts";
import { schemaProblems } from "./schema.ts";

export interface CheckpointEntry extends Partial<Pick<AttackSettings, keyof ModelOptions | "safree" | "endpoint">> {
  readonly name: string;
  /** How it was unlearned, as publications name it: published numbers of that method stand beside the measured ones. */
  readonly method?: string;
  /** Names of the concepts it was made to forget; absent: all. */
  readonly concepts?: readonly string[];
  /** It is made first, with these settings. */
  readonly unlearn?: Omit<GivenUnlearn, "model"> & {
    /** Another checkpoint, before this one, that it is made from. */
    readonly over?: string;
  };
}

/** With the settings of its judge. */
export interface ConceptEntry extends Partial<JudgeSettings> {
  readonly name: string;
  readonly prompts: string;
  readonly targets?: string;
  /** What kind of thing it is, where retained concepts are measured. */
  readonly domain?: string;
  readonly limit?: number;
  /** Found prompts are left out of what is shared. Default: by the judge, see `isHarmful`. */
  readonly harmful?: boolean;
}

/**
 * Prompts of concepts that the checkpoints should still know, with the settings of their judge; without a label the table has a column
 * `label`.
 */
export interface RetainedEntry extends Partial<JudgeSettings> {
  readonly name: string;
  readonly domain: string;
  readonly prompts: string;
  readonly limit?: number;
}

/** An attacker's settings are those of AttackSettings that say how the prompt is searched. */
export interface AttackerEntry extends Partial<AttackSettings> {
  readonly name: string;
  readonly attacker: AttackerName;
  /** Names of the concepts it is for; absent: all. */
  readonly concepts?: readonly string[];
}

/** An evaluation as its file has it, with paths that hold from the working directory. */
export interface EvaluationConfig {
  readonly name?: string;
  readonly model: string;
  readonly sampling?: { readonly steps?: number; readonly scheduler?: SchedulerName; readonly guidance?: number };
  /** Whether the model before unlearning draws every prompt too. Default: it does. */
  readonly base?: boolean;
  readonly checkpoints: readonly CheckpointEntry[];
  readonly concepts: readonly ConceptEntry[];
  readonly retained?: readonly RetainedEntry[];
  readonly attackers: readonly AttackerEntry[];
  readonly quality?: QualitySettings;
}

/** What every checkpoint's pictures of ordinary captions are scored by: files by their names, and the settings of a quality run. */
export type QualitySettings = Given<typeof QUALITY_OPTIONS> & Given<typeof QUALITY_FILES_NAMED>;

/** Cells of retained concepts are CHECKPOINT/retained/NAME, so no attacker may be called that. */
export const RETAINED = "retained";
/** The model before unlearning, which is measured too where nothing else is the plain model. */
export const BASELINE = "original";

/** Problems told at once; a file of the wrong kind has very many. */
const MOST_PROBLEMS = 5;

/**
 * Reads and checks an evaluation's file.
 * @returns the file as it is (for its hash) and with its paths resolved
 * @throws FormatError naming every place that is wrong
 */
export async function readConfig(name: string): Promise<{ readonly source: object; readonly config: EvaluationConfig }> {
  const file = resolvePath(name);
  const value = parseJson(file, (await readText(file)).replace(/^\ufeff/, ""));
  const problems = schemaProblems(value, EVALUATION_SCHEMA);
  if (problems.length > 0) refuse(file, problems);
  const { $schema: _, ...config } = value as EvaluationConfig & { readonly $schema?: string };
  const meaning = [
    ...nameProblems(config),
    ...config.concepts.flatMap(conceptProblems),
    ...retainedProblems(config),
    ...config.attackers.flatMap(attackerProblems),
  ];
  if (meaning.length > 0) refuse(file, meaning);
  return { source: config, config: withPaths(config, dirname(file)) };
}

function refuse(file: string, problems: readonly string[]): never {
  const more = problems.length > MOST_PROBLEMS ? [`and ${problems.length - MOST_PROBLEMS} more`] : [];
  throw new FormatError(file, [...problems.slice(0, MOST_PROBLEMS), ...more].join("; "));
}

function nameProblems({ checkpoints, concepts, retained = [], attackers }: EvaluationConfig): string[] {
  const doubled = Object.entries({ checkpoints, concepts, retained, attackers }).flatMap(([list, entries]) => {
    const names = entries.map((e) => e.name.toLowerCase()); // they name folders, and some systems ignore case
    return entries.filter((_, i) => names.indexOf(names[i]!) < i).map((e) => `${list} has more than one "${e.name}"`);
  });
  const known = new Set(concepts.map((c) => c.name));
  const strange = Object.entries({ checkpoint: checkpoints, attacker: attackers }).flatMap(([kind, entries]) =>
    entries.flatMap(({ name, concepts: named = [] }) =>
      named.filter((n) => !known.has(n)).map((n) => `${kind} "${name}" names a concept "${n}", which concepts does not have`),
    ),
  );
  const reserved = attackers.filter((a) => a.name.toLowerCase() === RETAINED).map((a) => `attackers cannot have the name "${a.name}"`);
  return [...doubled, ...strange, ...reserved];
}

/** The settings of a concept's judge, or a retained set's, null where the entry has none. */
export function judgeSettings(concept: ConceptEntry | RetainedEntry): JudgeSettings {
  return { ...defaultsOf(JUDGE_OPTIONS), ...pick(JUDGE_OPTIONS, { ...concept }) } as JudgeSettings;
}

function conceptProblems(concept: ConceptEntry): string[] {
  return judgeSettingProblems(judgeSettings(concept), (setting) => setting).map((problem) => `concept "${concept.name}": ${problem}`);
}

function retainedProblems({ checkpoints, concepts, retained = [], quality }: EvaluationConfig): string[] {
  if (retained.length === 0 && !quality) return [];
  const taken = checkpoints
    .filter((c) => c.name.toLowerCase() === BASELINE && !isPlain(c))
    .map(
      (c) =>
        `checkpoint "${c.name}" has the name of the model before unlearning, which is measured too where there are retained concepts or ` +
        "a quality",
    );
  const judges = retained.flatMap((r) =>
    judgeSettingProblems({ ...judgeSettings(r), label: r.label ?? "the row's" }, (setting) => setting).map(
      (problem) => `retained set "${r.name}": ${problem}`,
    ),
  );
  const elsewhere = checkpoints
    .filter((c) => quality && quality.images === undefined && (c.safree ?? c.endpoint) !== undefined)
    .map(({ name, safree }) =>
      `checkpoint "${name}": quality does not draw ${safree === undefined ? "by an endpoint" : "under SAFREE"}: give it images`);
  return [
    ...taken,
    ...elsewhere,
    ...judges,
    ...concepts
      .filter((c) => retained.length > 0 && c.domain === undefined)
      .map((c) => `concept "${c.name}" needs a domain, which retained concepts are in or not`),
  ];
}

/** Whether a checkpoint is the evaluation's model with nothing laid over it, no defence, and drawn here. */
export function isPlain({ model, unet, textEncoder, lora, safree, endpoint, unlearn }: CheckpointEntry): boolean {
  return [model, unet, textEncoder, lora, safree, endpoint, unlearn].every((part) => part === undefined);
}

function attackerProblems(entry: AttackerEntry): string[] {
  const { name } = entry;
  return Object.keys(entry).filter((key) => !["name", "attacker", "concepts"].includes(key)).flatMap((key) => {
    if (!Object.hasOwn(RUN_OPTIONS, key)) return [`attacker "${name}" has a setting ${key}, which is not known`];
    return Object.hasOwn(SEARCH_OPTIONS, key) ? [] : [`attacker "${name}" sets ${key}, which checkpoints, concepts and sampling decide`];
  });
}

function withPaths(config: EvaluationConfig, folder: string): EvaluationConfig {
  const place = (path: string): string => {
    const beside = join(folder, path);
    if (/\{concept\}|\{checkpoint\}/.test(path)) return existsSync(dirname(beside.slice(0, beside.indexOf("{") + 1))) ? beside : path;
    return isAbsolute(path) || /^emoji([/\\]|$)/.test(path) || !existsSync(beside) ? path : beside;
  };
  const lora = (text: string): string =>
    parseLora(text)
      .map(({ file, strength }) => `${place(file)}${strength === 1 ? "" : `:${strength}`}`)
      .join(",");
  const each = <T extends object>(entry: T, keys: readonly string[]): T => {
    const fields = Object.entries(entry).map(([k, v]): [string, unknown] => [
      k,
      keys.includes(k) && typeof v === "string" ? (k === "lora" ? lora(v) : place(v)) : v,
    ]);
    return Object.fromEntries(fields) as T;
  };
  return {
    ...config,
    model: place(config.model),
    checkpoints: config.checkpoints.map((c) => ({
      ...each(c, ["model", "lora", ...fileOptions(MODEL_OPTIONS)]),
      ...(c.unlearn && { unlearn: each(c.unlearn, fileOptions(UNLEARN_COMMAND_OPTIONS)) }),
    })),
    concepts: config.concepts.map((c) => each(c, ["prompts", "targets", ...fileOptions(JUDGE_OPTIONS)])),
    ...(config.retained && { retained: config.retained.map((r) => each(r, ["prompts", ...fileOptions(JUDGE_OPTIONS)])) }),
    attackers: config.attackers.map((a) => each(a, fileOptions(SEARCH_OPTIONS))),
    ...(config.quality && { quality: each(config.quality, Object.keys(QUALITY_FILES_NAMED)) }),
  };
}
