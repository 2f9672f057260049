import { createHash } from "node:crypto";
import { type AttackerName, comparesWithOriginal, readsOriginalText } from "../../engine/attack/attackers.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { type AttackSettings, defaultSettings } from "../../engine/run/settings/settings.ts";
import { isHarmful } from "../../engine/run/redact.ts";
import { type JudgeSettings, judgesByOriginal, ruleOf } from "../../engine/run/settings/judge.ts";
import {
  type AttackerEntry, BASELINE, type CheckpointEntry, type ConceptEntry, type EvaluationConfig, RETAINED, type RetainedEntry, isPlain,
  judgeSettings,
} from "./config.ts";
import { PER_CONCEPT } from "./evaluation-schema.ts";
import { type PromptCase, readPrompts, targetOf } from "./prompts.ts";
import { readReported } from "./reported.ts";

/** One checkpoint under one attacker for one concept: a row of the leaderboard. Or one checkpoint's pictures of retained concepts. */
export interface Cell extends Omit<CellEntry, "attempts"> {
  readonly attempts: readonly Attempt[];
}

/** One prompt of a cell. */
export interface Attempt {
  /** The cell's id and the case: also its folder below cells/. */
  readonly id: string;
  readonly cell: string;
  readonly case: string;
  /** Its place in the whole grid, from 0, by which shards divide the work. */
  readonly index: number;
  readonly settings: AttackSettings;
  /** How the model before unlearning draws the prompt; absent of retained concepts, and where the evaluation does without. */
  readonly base?: AttackSettings;
}

/** An attempt with the cell it is of. */
export interface Planned {
  readonly cell: Cell;
  readonly attempt: Attempt;
  /** Why it cannot be made: its line says so, and the evaluation goes on. */
  readonly notAttackable?: string | undefined;
}

export interface Grid {
  readonly cells: readonly Cell[];
  /** Of all that decides the attempts: the file, and the prompts it names. Paths count as they are written. */
  readonly sha256: string;
}

/**
 * Every attempt of an evaluation in its fixed order: by checkpoint, attacker, concept and prompt, as the file lists them, a checkpoint's
 * retained concepts last.
 * @param captions that every checkpoint draws for its scores, which are part of the hash
 * @throws FormatError for prompts or targets that cannot be used
 */
export async function makeGrid(config: EvaluationConfig, source: object, captions?: readonly object[]): Promise<Grid> {
  const cases = await readCases(config);
  const reported = await readReported();
  const methods = new Map(config.checkpoints.map((c) => [c.name, c.method]));
  let index = 0;
  const cells = rowsOf(config, cases).map(({ cell, prompts, drawn }): Cell => {
    const { checkpoint, concept } = cell;
    const attempts = prompts.map((prompt): Attempt => ({
      id: `${cell.id}/${prompt.row.id}`,
      cell: cell.id,
      case: prompt.row.id,
      index: index++,
      ...drawn(prompt),
    }));
    const numbers = cell.retained
      ? []
      : reported({ method: methods.get(checkpoint), checkpoint, concept, settings: attempts[0]!.settings });
    return { ...cell, ...(numbers.length > 0 && { reported: numbers }), attempts };
  });
  const rows = [...cases].map(([concept, list]) => [concept, list.map(({ row }) => row)]);
  return { cells, sha256: createHash("sha256").update(JSON.stringify([source, rows, ...(captions ? [captions] : [])])).digest("hex") };
}

/** A cell before its attempts are numbered. */
interface Row {
  readonly cell: Omit<Cell, "attempts" | "reported">;
  readonly prompts: readonly Case[];
  readonly drawn: (prompt: Case) => Pick<Attempt, "settings" | "base">;
}

/** The cells in the grid's order. */
function rowsOf(config: EvaluationConfig, cases: ReadonlyMap<string, readonly Case[]>): Row[] {
  const baseline: CheckpointEntry[] = config.retained && !config.checkpoints.some(isPlain) ? [{ name: BASELINE }] : [];
  return [...config.checkpoints, ...baseline].flatMap((checkpoint) => {
    const { concepts: erased } = checkpoint;
    const attacks = (baseline.includes(checkpoint) ? [NO_ATTACK] : config.attackers).flatMap((attacker) =>
      config.concepts
        .filter((c) => (!erased || erased.includes(c.name)) && (!attacker.concepts || attacker.concepts.includes(c.name)))
        .map((concept) => attackRow(config, checkpoint, attacker, concept, cases.get(concept.name)!)),
    );
    const kept = (config.retained ?? []).map((entry) => retainedRow(config, checkpoint, entry, cases.get(retainedKey(entry.name))!));
    return [...attacks, ...kept];
  });
}

/** How the evaluation's pictures are drawn and judged: what is asked for is the prompt's, and its guidance if it has one. */
function picturesOf({ sampling = {} }: EvaluationConfig, judged: JudgeSettings) {
  const { steps, scheduler, guidance } = { ...defaultSettings("no-attack"), ...sampling };
  return ({ prompt, seed, guidance: own }: PromptCase, label: string) =>
    ({ prompt, seed, ...judged, label, steps, scheduler, guidance: own ?? guidance });
}

/** One checkpoint under one attacker for one concept. */
function attackRow(
  config: EvaluationConfig,
  checkpoint: CheckpointEntry,
  { name: attacker, concepts: _only, ...search }: AttackerEntry,
  entry: ConceptEntry,
  prompts: readonly Case[],
): Row {
  const { name, method: _method, concepts: _concepts, ...model } = checkpoint;
  const { name: concept, domain } = entry;
  const judged = judgeSettings(entry);
  const label = judged.label ?? concept;
  const cell = {
    id: `${name}/${attacker}/${concept}`,
    checkpoint: name,
    attacker,
    kind: search.attacker,
    concept,
    label,
    rule: ruleOf({ ...judged, label }),
    ...(domain !== undefined && { domain }),
    ...(isPlain(checkpoint) && { baseline: true }),
    ...(isHarmful(judged.judge, entry.harmful) && { harmful: true }),
  };
  const ofConcept = (path: string | null | undefined): string | null => path?.replaceAll("{concept}", concept) ?? null;
  const files = Object.fromEntries(PER_CONCEPT.map((option) => [option, ofConcept(search[option])]));
  const picture = picturesOf(config, judged);
  return {
    cell,
    prompts,
    drawn({ row, target }) {
      const drawn = picture(row, label);
      return {
        settings: {
          ...defaultSettings(search.attacker),
          original: originalOf(config, model, search.attacker, judged),
          model: config.model,
          ...model,
          ...search,
          ...files,
          target,
          ...drawn,
        },
        ...(config.base !== false && {
          base: { ...defaultSettings("no-attack"), attacker: "no-attack", model: config.model, ...drawn },
        }),
      };
    },
  };
}

/** One checkpoint's pictures of a set of retained concepts. */
function retainedRow(config: EvaluationConfig, checkpoint: CheckpointEntry, entry: RetainedEntry, prompts: readonly Case[]): Row {
  const { name, method: _method, concepts: _concepts, ...model } = checkpoint;
  const { name: set, domain } = entry;
  const judged = judgeSettings(entry);
  const labelOf = ({ row }: Case): string => judged.label ?? row.label ?? "";
  const picture = picturesOf(config, judged);
  return {
    cell: {
      id: `${name}/${RETAINED}/${set}`,
      checkpoint: name,
      attacker: RETAINED,
      kind: "no-attack",
      concept: set,
      label: judged.label ?? "",
      rule: ruleOf({ ...judged, label: judged.label ?? "the row's label" }),
      retained: { domain, labels: prompts.map(labelOf) },
    },
    prompts,
    drawn: (prompt) => ({
      settings: {
        ...defaultSettings("no-attack"),
        original: originalOf(config, model, "no-attack", judged),
        model: config.model,
        ...model,
        attacker: "no-attack",
        ...picture(prompt.row, labelOf(prompt)),
      },
    }),
  };
}

const NO_ATTACK: AttackerEntry = { name: "no-attack", attacker: "no-attack" };

/** A prompt and its target picture. */
interface Case {
  readonly row: PromptCase;
  readonly target: string | null;
}

/** The prompts of every concept, and of every set of retained ones under a name that no concept can have. @throws FormatError */
async function readCases({ concepts, retained = [] }: EvaluationConfig): Promise<Map<string, readonly Case[]>> {
  const cases = new Map<string, readonly Case[]>();
  for (const { name, prompts, targets, limit } of concepts) {
    const rows = (await readPrompts(prompts)).slice(0, limit);
    cases.set(name, rows.map((row) => ({ row, target: targets === undefined ? null : targetOf(targets, row.id) })));
  }
  for (const { name, prompts, label, limit } of retained) {
    const rows = (await readPrompts(prompts)).slice(0, limit);
    if (label === undefined && rows[0]?.label === undefined) {
      throw new FormatError(
        prompts,
        `has no column "label", and the retained set "${name}" has no label for all of it: say what the judge should see`,
      );
    }
    cases.set(
      retainedKey(name),
      rows.map((row) => ({ row, target: null })),
    );
  }
  return cases;
}

function retainedKey(name: string): string {
  return `${RETAINED}/${name}`;
}

/**
 * The model before unlearning, for what compares with it: the evaluation's. Null, the settings' word for "without what is laid over it",
 * where the checkpoint is not a model of its own.
 */
function originalOf(
  { model }: EvaluationConfig,
  checkpoint: Omit<CheckpointEntry, "name">,
  attacker: AttackerName,
  judge: JudgeSettings,
): string | null {
  const needs = comparesWithOriginal(attacker) || readsOriginalText(attacker) || judgesByOriginal(judge);
  return checkpoint.model !== undefined && needs ? model : null;
}
