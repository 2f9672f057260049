import type { Command } from "commander";
import { writeFileAtomic } from "../../engine/platform/node-files.ts";
import { type Comparison, type PairedRow, compare } from "../../engine/run/compare/pairs.ts";
import { comparisonPage } from "../../engine/run/compare/page.ts";
import { SCORES_HEADER, scoreCells } from "../../engine/run/compare/scores.ts";
import { COMPARISON_HEADER, comparisonCells, headline } from "../../engine/run/compare/words.ts";
import { terminalTable } from "../terminal/table.ts";
import { type Context, action } from "../context.ts";
import { type Shown, addShown } from "../shown.ts";
import { seedNumber } from "../options.ts";
import { requireWritableFile } from "../output.ts";
import { EvaluationFolder } from "../evaluate/folder.ts";
import { readSide } from "./side.ts";

interface DiffFlags extends Shown {
  readonly out?: string;
  readonly seed: number;
}

export function diffCommand(program: Command): void {
  const command = program
    .command("diff")
    .description("compare two evaluations or attacks prompt by prompt: what changed, by how much, how surely")
    .argument("<first>", "folder of an evaluation or of an attack")
    .argument("<second>", "another one")
    .option("--out <file.html>", "write the comparison as a page, with the pictures side by side")
    .option("--seed <n>", "seed of the bootstrap", seedNumber, 0);
  addShown(command).action(action<DiffFlags>((flags, context, first, second) => run(flags, context, first!, second!)));
}

async function run(flags: DiffFlags, context: Context, first: string, second: string): Promise<void> {
  const { out, seed, showImages = false, showPrompts = false } = flags;
  if (out !== undefined) await requireWritableFile(out);
  const comparison = compare(await readSide(first), await readSide(second), seed);
  for (const caution of comparison.cautions) context.warn(caution);
  const folders = { first, second };
  if (out !== undefined) {
    const page = await comparisonPage({
      comparison,
      showImages,
      showPrompts,
      image: (side, path) => new EvaluationFolder(folders[side]).picture(path),
    });
    await writeFileAtomic(out, page);
    context.report(out, "page");
  }
  context.result(jsonOf(comparison, out), `${headline(comparison)}\n\n${tableOf(comparison)}`);
}

function tableOf({ rows, scores }: Comparison): string {
  const tables = [
    terminalTable(COMPARISON_HEADER.map((title, i) => ({ title, right: i > 0 })), rows.map(comparisonCells)),
    ...(scores.length > 0 ? [terminalTable(SCORES_HEADER.map((title, i) => ({ title, right: i > 1 })), scores.map(scoreCells))] : []),
  ];
  return tables.join("\n\n");
}

/** The numbers for programs: rates from 0 to 1. */
function jsonOf({ first, second, rows, all, unpaired, scores, cautions }: Comparison, out: string | undefined): object {
  const numbers = ({ counts, first: a, second: b, difference }: Pick<PairedRow, "counts" | "first" | "second" | "difference">): object => ({
    pairs: a.of,
    ...counts,
    first: a,
    second: b,
    difference,
  });
  return {
    first: first.name,
    second: second.name,
    ...numbers(all),
    rows: rows.map((row) => ({
      row: row.name,
      ...numbers(row),
      p: row.p,
      changed: row.pairs
        .filter((pair) => pair.first.success !== pair.second.success)
        .map((pair) => ({ case: pair.first.case, prompt: pair.first.prompt, first: pair.first.success, second: pair.second.success })),
    })),
    ...(scores.length > 0 && { scores }),
    unpaired: { first: unpaired.first.length, second: unpaired.second.length },
    cautions,
    ...(out !== undefined && { out }),
  };
}
