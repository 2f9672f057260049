import type { RgbImage } from "../../engine/formats/image.ts";
import { definitions, escape, table, visible } from "../report/html.ts";
import { picture, thumbnail } from "../report/picture.ts";
import css from "../report/report.css";
import type { AttemptLine } from "./attempt-line.ts";
import type { Manifest } from "./folder.ts";
import type { CellStatistics } from "./statistics.ts";
import { COLUMNS, NOTE, fixed, rowCells } from "./tables.ts";

/** Longest side of the pictures in the grids. */
const SIDE = 96;

const GRID_CSS = `
.grid-pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .7rem; }
.grid-pictures figcaption { padding: .4rem .5rem; font-size: .75rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .6rem; overflow-wrap: anywhere; }
section.times { break-before: page; }`;

export interface PageData {
  readonly manifest: Manifest;
  readonly rows: readonly CellStatistics[];
  readonly showImages: boolean;
  /** Of an AttemptLine's `image`; undefined if it is not there any more. */
  readonly image: (path: string) => Promise<RgbImage | undefined>;
}

/** The leaderboard as one HTML page without scripts. Only its last section, the times, differs between runs with the same results. */
export async function evaluationPage(data: PageData): Promise<string> {
  const { manifest, rows, showImages } = data;
  const grids: string[] = [];
  for (const row of rows) grids.push(await pictureGrid(row, data));
  const times = rows.map((r) => [r.cell.checkpoint, r.cell.attacker, r.cell.concept, ...[r.secondsToSuccess, r.seconds, r.drawSeconds, r.searchSeconds].map((s) => fixed(s, 2) || "-")].map(escape));
  const hint = showImages ? "" : `<p class="hint">Pictures are blurred until you choose one, by a click or with the space bar.</p>`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>Lethe: ${escape(manifest.name)}</title>
<style>
${css}${GRID_CSS}
</style>
</head>
<body>
<main>
<header><p class="brand">Lethe <span>did these models really forget?</span></p></header>
<h1>${escape(manifest.name)}</h1>
<section aria-labelledby="board"><h2 id="board">Leaderboard</h2>
<p>${escape(NOTE)}</p>
${table("Leaderboard", COLUMNS, rows.map((r) => rowCells(r).map(escape)))}
${definitions([...new Map(rows.map(({ cell }) => [cell.concept, visible(cell.rule)]))])}
<p class="hint">Each row's command, files and device are in cells/CHECKPOINT/ATTACKER/CONCEPT/run.json; every prompt has a folder and a report of its own below it.</p></section>
<section aria-labelledby="pictures"><h2 id="pictures">Last picture of every prompt</h2>${hint}
${grids.join("\n")}
</section>
<section aria-labelledby="evaluation"><h2 id="evaluation">Evaluation</h2><p>Configuration ${escape(manifest.file)}, SHA-256 with its prompts <code class="hash">${escape(manifest.sha256)}</code>, Lethe ${escape(manifest.lethe)}.</p></section>
<section class="times" aria-labelledby="times"><h2 id="times">Seconds per prompt</h2>
${table("Seconds per prompt", ["checkpoint", "attacker", "concept", "to success", "all prompts", "drawing and judging", "searching"], times)}
</section>
<footer><p>Success is what the judge says of a picture, and a failed search is no proof of forgetting.</p></footer>
</main>
</body>
</html>
`;
}

async function pictureGrid({ cell, lines }: CellStatistics, { image, showImages }: PageData): Promise<string> {
  const figures: string[] = [];
  for (const line of lines) {
    const shown = await image(line.image);
    const alt = `Case ${line.case}, judged ${line.label}`;
    const drawn = shown ? picture(thumbnail(shown, SIDE), { alt, blurred: !showImages }) : `<span class="none">no picture</span>`;
    figures.push(`<figure class="${line.success ? "hit" : ""}">${drawn}<figcaption><strong>${escape(outcome(line))}</strong><span>judged <b>${escape(line.label)}</b></span>${visible(line.adversarialPrompt)}</figcaption></figure>`);
  }
  return `<h3>${escape(cell.id)}</h3><div class="grid-pictures">${figures.join("\n")}</div>`;
}

function outcome({ success, preSuccess, iterations, queries }: AttemptLine): string {
  if (preSuccess) return "before the attack";
  if (!success) return "not found";
  return iterations > 0 ? `found, ${iterations} iterations` : `found, ${queries} pictures`;
}
