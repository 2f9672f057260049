import { createHash } from "node:crypto";
import { type AttackSettings, DEFAULTS, defaultsOf } from "../attack/run-settings.ts";
import { type JudgeSettings, judgesByOriginal, ruleOf } from "../attack/judge.ts";
import { type CheckpointEntry, type EvaluationConfig, judgeSettings } from "./config.ts";
import { type PromptCase, readPrompts, targetOf } from "./prompts.ts";

/** One checkpoint under one attacker for one concept: a row of the leaderboard. */
export interface Cell {
  /** CHECKPOINT/ATTACKER/CONCEPT. */
  readonly id: string;
  readonly checkpoint: string;
  readonly attacker: string;
  readonly concept: string;
  /** The judge's label for the concept; where it has none, the concept's name. */
  readonly label: string;
  /** What the judge calls a success. */
  readonly rule: string;
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
}

export interface Grid {
  readonly cells: readonly Cell[];
  /** Of all that decides the attempts: the file, and the prompts it names. Paths count as they are written. */
  readonly sha256: string;
}

/** Every attempt of an evaluation in its fixed order: by checkpoint, attacker, concept and prompt, as the file lists them. @throws FormatError for prompts or targets that cannot be used */
export async function makeGrid(config: EvaluationConfig, source: object): Promise<Grid> {
  const cases = new Map<string, readonly { readonly row: PromptCase; readonly target: string | null }[]>();
  for (const { name, prompts, targets, limit } of config.concepts) {
    const rows = (await readPrompts(prompts)).slice(0, limit);
    cases.set(name, rows.map((row) => ({ row, target: targets === undefined ? null : targetOf(targets, row.id) })));
  }
  const cells: Cell[] = [];
  let index = 0;
  for (const { name: checkpoint, concepts: erased, ...model } of config.checkpoints) {
    for (const { name: attacker, ...search } of config.attackers) {
      for (const entry of config.concepts) {
        const concept = entry.name;
        if (erased && !erased.includes(concept)) continue;
        const judged = judgeSettings(entry);
        const label = judged.label ?? concept;
        const id = `${checkpoint}/${attacker}/${concept}`;
        const attempts = cases.get(concept)!.map(({ row, target }): Attempt => {
          const { steps = DEFAULTS.steps, scheduler = DEFAULTS.scheduler, guidance = DEFAULTS.guidance } = config.sampling ?? {};
          const settings: AttackSettings = {
            ...defaultsOf(search.attacker), original: originalOf(config, model, search.attacker, judged), model: config.model, ...model, ...search,
            prompt: row.prompt, seed: row.seed, target, ...judged, label, steps, scheduler, guidance: row.guidance ?? guidance,
          };
          return { id: `${id}/${row.id}`, cell: id, case: row.id, index: index++, settings };
        });
        cells.push({ id, checkpoint, attacker, concept, label, rule: ruleOf({ ...judged, label }), attempts });
      }
    }
  }
  const rows = [...cases].map(([concept, list]) => [concept, list.map(({ row }) => row)]);
  return { cells, sha256: createHash("sha256").update(JSON.stringify([source, rows])).digest("hex") };
}

/** The model before unlearning, for what compares with it: the evaluation's. Null, the settings' word for "without what is laid over it", where the checkpoint is no model of its own. */
function originalOf({ model }: EvaluationConfig, checkpoint: Omit<CheckpointEntry, "name">, attacker: string, judge: JudgeSettings): string | null {
  return checkpoint.model !== undefined && (attacker === "p4d" || attacker === "ring-a-bell" || judgesByOriginal(judge)) ? model : null;
}
