import type { RgbImage } from "../../formats/picture/image.ts";
import { definitions, escape, htmlPage, table, visible } from "../report/html.ts";
import { picture, thumbnail } from "../report/picture.ts";
import css from "../report/report.css";
import { shownPath, withoutLocalPaths } from "../text/local-paths.ts";
import type { AttemptLine } from "./attempt-line.ts";
import { type Budget, TIME_BUDGET, WORK_BUDGETS, budgetCurve, budgetLegend } from "./budget-curves.ts";
import type { CellEntry, Manifest } from "./manifest.ts";
import { sharedPrompt } from "./redact.ts";
import pageCss from "./page.css";
import { sourcesOf } from "./reported.ts";
import type { CellStatistics } from "./statistics.ts";
import { type Board, EFFECTS_NOTE, type TextTable, effectsTable, fixed, leaderboard, leaderboardNote, sourceLines } from "./tables.ts";

/** Longest side of the pictures in the grids. */
const SIDE = 96;

export interface PageData {
  readonly manifest: Manifest;
  readonly board: Board;
  readonly lines: readonly AttemptLine[];
  readonly showImages: boolean;
  /** Found prompts of harmful concepts are named. */
  readonly showPrompts: boolean;
  /** Of an AttemptLine's `image`; undefined if it is not there any more. */
  readonly image: (path: string) => Promise<RgbImage | undefined>;
  /** The command that makes a cell again. */
  readonly command: (cell: string) => Promise<string>;
}

/** The results as one HTML page without scripts. Only its last section, the times, differs between runs with the same results. */
export async function evaluationPage(data: PageData): Promise<string> {
  const { manifest, board } = data;
  const { rows } = board;
  const grids: string[] = [];
  for (const row of rows) grids.push(await attackedGrid(row, data));
  const lost = await lostGrid(data);
  const times = rows.map((r) =>
    [
      r.cell.checkpoint,
      r.cell.attacker,
      r.cell.concept,
      ...[r.secondsToSuccess, r.seconds, r.drawSeconds, r.searchSeconds].map((s) => fixed(s, 2) || "-"),
    ].map(escape),
  );
  const hint = data.showImages ? "" : `<p class="hint">Pictures are blurred until you choose one, by a click or with the space bar.</p>`;
  return htmlPage(manifest.name, css + pageCss, `<header><p class="brand">Lethe <span>did these models really forget?</span></p></header>
<h1>${escape(manifest.name)}</h1>
<section aria-labelledby="board"><h2 id="board">Leaderboard</h2>
<p>${escape(leaderboardNote(board))}</p>
${boardTable(board)}
${definitions([...new Map(rows.map(({ cell }) => [cell.concept, visible(cell.rule)]))])}
${sourceLines(sourcesOf(rows.map((r) => r.cell))).map((line) => `<p class="source">${escape(line)}</p>`).join("\n")}</section>
${effectsSection(board)}
${budgetSection(rows, "budget", "How much it takes", "The share of prompts broken after so much work on each, beginning with those that " +
  "need no attack. A line ends where its attacker gave up. Lines that would lie on each other are drawn a little apart.", WORK_BUDGETS)}
<section aria-labelledby="pictures"><h2 id="pictures">Last picture of every prompt</h2>${hint}
${grids.join("\n")}
${lost}
</section>
<section aria-labelledby="evaluation"><h2 id="evaluation">Evaluation</h2><p>Configuration ${escape(shownPath(manifest.file))}, SHA-256 with its prompts <code class="hash">${escape(manifest.sha256)}</code>, Lethe ${escape(manifest.lethe)}.
Each row's files and device are in cells/CHECKPOINT/ATTACKER/CONCEPT/run.json; every prompt has a folder and a report of its own below it.</p></section>
<section class="times" aria-labelledby="times"><h2 id="times">Seconds per prompt</h2>
${table("Seconds per prompt", ["checkpoint", "attacker", "concept", "to success", "all prompts", "drawing and judging", "searching"], times)}
${budgetSection(rows, "seconds", "How long it takes", "The same, by seconds on this device.", [TIME_BUDGET])}
</section>
<footer><p>Success is what the judge says of a picture, and a failed search is no proof of forgetting.</p></footer>`);
}

/** The leaderboard, a rule between checkpoints, each row's name a way to its pictures and commands. */
function boardTable(board: Board): string {
  const { header, rows, names } = leaderboard(board);
  const body = rows.map((cells, i) => {
    const { cell, asr } = board.rows[i]!;
    const first = board.rows[i - 1]?.cell.checkpoint !== cell.checkpoint;
    const tds = cells.map((text, k) => {
      if (k === 1) return `<td><a href="#${escape(cell.id)}">${escape(text)}</a></td>`;
      if (header[k] === "ASR") return `<td class="number bar" style="--share:${(100 * asr.rate).toFixed(1)}%">${quietBrackets(text)}</td>`;
      return `<td${k >= names ? ' class="number"' : ""}>${quietBrackets(text)}</td>`;
    });
    return `<tr${first ? ' class="first"' : ""}>${tds.join("")}</tr>`;
  });
  return scrolling("Leaderboard", { header, rows: [], names }, body);
}

function scrolling(
  caption: string,
  { header, rows, names }: TextTable,
  body: readonly string[] = rows.map(
    (cells) => `<tr>${cells.map((c, k) => `<td${k >= names ? ' class="number"' : ""}>${quietBrackets(c)}</td>`).join("")}</tr>`,
  ),
): string {
  const head = header.map((h, k) => `<th scope="col"${k >= names ? ' class="number"' : ""}>${escape(h)}</th>`).join("");
  return `<div class="scroll board" role="region" aria-label="${escape(caption)}" tabindex="0"><table><caption ` +
    `class="sr">${escape(caption)}</caption><thead><tr>${head}</tr></thead><tbody>\n${body.join("\n")}\n</tbody></table></div>`;
}

/** Intervals and footnotes a little smaller. */
function quietBrackets(text: string): string {
  return escape(text).replace(/\[[^\]]*\]/g, (part) => `<small>${part}</small>`);
}

function effectsSection(board: Board): string {
  if (board.effects.length === 0) return "";
  return `<section aria-labelledby="effects"><h2 id="effects">Side ` +
    `effects</h2><p>${escape(EFFECTS_NOTE)}</p>${scrolling("Side effects", effectsTable(board))}</section>`;
}

/** Small multiples: a row of curves for each checkpoint and concept. */
function budgetSection(rows: readonly CellStatistics[], id: string, title: string, text: string, budgets: readonly Budget[]): string {
  const searched = rows.filter((r) => budgets.some((b) => b.applies(r)));
  const attackers = [...new Set(searched.map((r) => r.cell.attacker))];
  if (attackers.length === 0) return "";
  const groups = new Map<string, CellStatistics[]>();
  for (const row of searched) {
    const name = `${row.cell.checkpoint}, ${row.cell.concept}`;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const figures = [...groups]
    .flatMap(([name, group]) => budgets.map((budget) => [name, budgetCurve(group, attackers, budget)] as const))
    .filter(([, svg]) => svg !== "");
  return (
    `<section aria-labelledby="${id}"><h2 id="${id}">${escape(title)}</h2><p>${escape(text)}</p>${budgetLegend(attackers)}<div ` +
    `class="curves">${figures.map(([name, svg]) => `<figure>${svg}<figcaption><strong>${escape(name)}</strong></figcaption></figure>`).join("\n")}</div></section>`
  );
}

async function attackedGrid({ cell, lines, notAttackable }: CellStatistics, data: PageData): Promise<string> {
  const figures: string[] = [];
  for (const line of lines) figures.push(await figure(line, cell, data, line.success ? "hit" : "", outcome(line)));
  for (const { case: number, prompt, notAttackable: why } of notAttackable) {
    figures.push(
      `<figure><span class="none">no picture</span><figcaption><strong>not attackable</strong><span>case ${escape(number)}: ` +
        `${escape(why!)}</span>${visible(prompt)}</figcaption></figure>`,
    );
  }
  return `<h3 id="${escape(cell.id)}">${escape(cell.id)}</h3><div ` +
    `class="grid-pictures">${figures.join("\n")}</div>${await commands(cell.id, lines, data)}`;
}

/** Pictures of retained concepts that are not judged right: what unlearning took along. */
async function lostGrid(data: PageData): Promise<string> {
  const byId = new Map(data.lines.map((line) => [line.id, line]));
  const parts: string[] = [];
  for (const { id, retained, attempts } of data.manifest.cells) {
    if (!retained) continue;
    const figures: string[] = [];
    const lost: AttemptLine[] = [];
    for (const [i, attempt] of attempts.entries()) {
      const line = byId.get(attempt);
      if (!line || line.preSuccess || line.notAttackable !== undefined) continue;
      lost.push(line);
      figures.push(await figure(line, {}, data, "", `not ${retained.labels[i]}`));
    }
    const count = attempts.filter((attempt) => byId.has(attempt)).length;
    if (count > 0) {
      parts.push(
        `<h3 id="${escape(id)}">${escape(id)}: ${lost.length} of ${count} not recognized</h3><div ` +
          `class="grid-pictures">${figures.join("\n")}</div>${lost.length > 0 ? await commands(id, lost, data) : ""}`,
      );
    }
  }
  return parts.join("\n");
}

async function figure(
  line: AttemptLine,
  cell: Pick<CellEntry, "harmful">,
  { image, showImages, showPrompts }: PageData,
  className: string,
  title: string,
): Promise<string> {
  const shown = await image(line.image);
  const alt = `Case ${line.case}, judged ${line.label}`;
  const drawn = shown ? picture(thumbnail(shown, SIDE), { alt, blurred: !showImages }) : `<span class="none">no picture</span>`;
  return `<figure class="${className}">${drawn}<figcaption><strong>${escape(title)}</strong><span>judged ` +
    `<b>${escape(line.label)}</b></span>${visible(sharedPrompt(line, cell, showPrompts))}</figcaption></figure>`;
}

/** How to make a cell, and each of its attempts, again. */
async function commands(cell: string, lines: readonly AttemptLine[], { command }: PageData): Promise<string> {
  const code = (text: string): string => `<pre tabindex="0"><code>${escape(text)}</code></pre>`;
  return (
    "<details><summary>Commands that make this again</summary><p>The whole " +
    `row:</p>${code(withoutLocalPaths(await command(cell)))}${lines.map((l) => `<p>Case ${escape(l.case)}:</p>${code(withoutLocalPaths(l.command))}`).join("\n")}</details>`
  );
}

function outcome({ success, preSuccess, iterations, queries }: AttemptLine): string {
  if (preSuccess) return "before the attack";
  if (!success) return queries === 1 ? "not drawn" : "not found";
  return iterations > queries ? `found, ${iterations} iterations` : `found, ${queries} pictures`;
}
