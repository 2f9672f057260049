import type { Command } from "commander";
import { join } from "node:path";
import { writeFileAtomic } from "../../engine/platform/node-files.ts";
import { cardMarkdown, evalResultsYaml } from "../../engine/run/card/card.ts";
import { bibliography } from "../../engine/run/leaderboard/methods.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type Context, action } from "../context.ts";
import { EvaluationFolder } from "../evaluate/folder.ts";
import { readBoard } from "../evaluate/results/write-tables.ts";
import { someText } from "../options.ts";
import { requireWritableFolder } from "../output.ts";

interface CardFlags {
  readonly out?: string;
  readonly dataset?: string;
}

/** Stands where the hub's benchmark is not known; the hub refuses it, so that it is not published unseen. */
const NO_DATASET = "ORG/NAME";

export function cardCommand(program: Command): void {
  program
    .command("card")
    .description("what a model card says of an evaluation: paragraph and table, .eval_results/*.yaml for the hub, BibTeX")
    .argument("<dir>", "folder of an evaluation")
    .option("--out <dir>", "folder for card.md, .eval_results and lethe.bib (default: the evaluation's own)")
    .option("--dataset <id>", "the hub's benchmark that the prompts are of, ORG/NAME, for .eval_results", someText)
    .action(action<CardFlags>((flags, context, dir) => run(flags, context, dir!)));
}

async function run({ out, dataset }: CardFlags, context: Context, dir: string): Promise<void> {
  if (dataset !== undefined && !/^[\w.-]+\/[\w.-]+$/.test(dataset))
    throw new UsageError(`--dataset ${JSON.stringify(dataset)} is not ORG/NAME`);
  const folder = new EvaluationFolder(dir);
  const manifest = await folder.requireManifest();
  const lines = await folder.attempts();
  const board = await readBoard(folder, manifest, lines);
  const { rows } = board;
  if (rows.length === 0) throw new UsageError(`${dir} holds an evaluation without a finished attempt`);
  const attempts = manifest.cells.reduce((sum, cell) => sum + cell.attempts.length, 0);
  if (lines.length < attempts)
    context.warn(`${attempts - lines.length} of ${attempts} attempts are not finished: the rates count the others only`);
  const to = out ?? dir;
  await requireWritableFolder(to);
  const references = bibliography(manifest, rows);
  const card = cardMarkdown(manifest, board, references);
  const made = lines.find((line) => line.notAttackable === undefined);
  const date = made && (await folder.attemptRecord(made.id)).started.slice(0, 10);
  if (dataset === undefined) {
    context.warn(
      `.eval_results names ${NO_DATASET} as its dataset: put the hub's benchmark there, or give --dataset, before you publish it`,
    );
  }
  const files = ["card.md", "lethe.bib"];
  await writeFileAtomic(join(to, "card.md"), card);
  await writeFileAtomic(join(to, "lethe.bib"), references);
  for (const checkpoint of new Set(rows.filter((r) => !r.cell.baseline).map((r) => r.cell.checkpoint))) {
    const name = `.eval_results/lethe-${checkpoint}.yaml`;
    const own = rows.filter((row) => row.cell.checkpoint === checkpoint);
    await writeFileAtomic(join(to, name), evalResultsYaml(own, manifest, { dataset: dataset ?? NO_DATASET, date }));
    files.push(name);
  }
  for (const file of files) context.say(`written: ${join(to, file)}`);
  context.result({ out: to, files, card }, card);
}
