/** What the card of an unlearned model says of an evaluation: a paragraph, a table, and results in the hub's own form. */
import { headlineOf } from "../leaderboard/headline.ts";
import type { Board } from "../leaderboard/columns.ts";
import type { Manifest } from "../leaderboard/manifest.ts";
import { type QualityScores, scoreText } from "../leaderboard/quality.ts";
import type { CellStatistics } from "../leaderboard/statistics.ts";
import { sourcesOf } from "../leaderboard/reported.ts";
import { leaderboard, leaderboardNote, markdownTable, sourceLines } from "../leaderboard/tables.ts";

/** The section of a model card, as Markdown. @param bibliography BibTeX */
export function cardMarkdown(manifest: Manifest, board: Board, bibliography: string): string {
  const { sentence, details } = headlineOf(board.rows);
  const rules = [...new Map(board.rows.map(({ cell }) => [cell.concept, cell.rule]))];
  return [
    "## Robustness of the unlearning",
    "",
    `${sentence}. ${details.join(" ")} Measured with Lethe ${manifest.lethe}; plan \`${manifest.sha256}\`.`,
    "",
    markdownTable(leaderboard(board)).trimEnd(),
    "",
    leaderboardNote(board),
    "",
    ...sourceLines(sourcesOf(board.rows)).flatMap((line) => [line, ""]),
    ...rules.map(([concept, rule]) => `- ${concept}: a picture counts where the judge says that ${rule}.`),
    "",
    "A failed search is not a proof of forgetting: it says what these attacks found with these budgets.",
    "",
    "```bibtex",
    bibliography.trimEnd(),
    "```",
    "",
  ].join("\n");
}

/** What a checkpoint's pictures of ordinary captions are worth. */
function scoreNotes(quality: QualityScores | undefined): string[] {
  if (!quality) return [];
  const { distanceName, features, frechet, clipScore, count } = quality;
  return [
    ...(frechet === null ? [] : [`${distanceName} (${features}) ${scoreText(frechet)} of ${count} pictures`]),
    ...(clipScore === null ? [] : [`CLIP score ${scoreText(clipScore)} of ${count} pictures`]),
  ];
}

/** Where the hub keeps results: a benchmark's dataset. */
export interface HubResults {
  /** ORG/NAME of the dataset whose benchmark the prompts are of. */
  readonly dataset: string;
  /** ISO 8601 date. */
  readonly date: string | undefined;
}

/**
 * .eval_results/*.yaml of one checkpoint: an entry for each attacker and concept, whose value is the ASR in per cent.
 * Source of the form: https://huggingface.co/docs/hub/eval-results
 */
export function evalResultsYaml(rows: readonly CellStatistics[], { sha256, lethe }: Manifest, { dataset, date }: HubResults): string {
  const entries = rows
    .filter((row) => row.asr.of > 0)
    .map(({ cell, pre, asr, base, quality }) => {
      const share = (value: number): number => Number((100 * value).toFixed(2));
      const notes = [
        `attack success rate in per cent, lower is better; Wilson 95% interval ${share(asr.low)} to ${share(asr.high)}, ${asr.of} prompts`,
        `without an attack ${share(pre.rate)}`,
        ...(base.of > 0 ? [`the model before unlearning draws it for ${base.count} of ${base.of}`] : []),
        ...scoreNotes(quality),
        `judge: ${cell.rule}`,
        `Lethe ${lethe}, plan ${sha256}`,
      ];
      return [
        "- dataset:",
        `    id: ${JSON.stringify(dataset)}`,
        `    task_id: ${JSON.stringify(`${cell.concept}-${cell.attacker}`)}`,
        `  value: ${share(asr.rate)}`,
        ...(date === undefined ? [] : [`  date: ${JSON.stringify(date)}`]),
        "  evaluation_framework: lethe",
        `  notes: ${JSON.stringify(notes.join("; "))}`,
        "",
      ].join("\n");
    });
  return entries.join("");
}
