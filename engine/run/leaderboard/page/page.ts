import { code, definitions, escape, htmlPage, pageScript, visible } from "../../report/html.ts";
import css from "../../report/report.css";
import { shownPath, withoutLocalPaths } from "../../text/local-paths.ts";
import { type Budget, TIME_BUDGET, WORK_BUDGETS, budgetCurve, seriesLook } from "../charts/budget.ts";
import { checkpointsOf, groupsOf, searchingAttackers } from "../charts/figures.ts";
import { forestPlot } from "../charts/forest.ts";
import { heatMap } from "../charts/heat-map.ts";
import { PAGE_THEME } from "../charts/plot.ts";
import { isProbe } from "../../../attack/attackers.ts";
import { headlineOf } from "../headline.ts";
import { LEADERBOARD, TIMES } from "../leaderboard-columns.ts";
import { bibliography, methodsText } from "../methods.ts";
import { sourcesOf } from "../reported.ts";
import type { CellStatistics } from "../statistics.ts";
import { leaderboardNote, sourceLines } from "../tables.ts";
import { cellSection, framesEach, lostSections } from "./attempts.ts";
import client from "./client.inline";
import { costSection } from "./cost.ts";
import type { PageData } from "./data.ts";
import { madeSection } from "./made.ts";
import pageCss from "./page.css";
import { Pictures } from "./pictures.ts";
import { probesSection } from "./probes.ts";
import { htmlTable, scrolling } from "./table.ts";

/**
 * The results as one HTML file that opens from disk and asks for nothing over the network. All of it can be read without scripts; its own
 * script sorts, filters and slides. Only its last section, the times, differs between runs with the same results.
 */
export async function evaluationPage(data: PageData): Promise<string> {
  const { manifest, board, lines } = data;
  const { rows } = board;
  const pictures = new Pictures(data.image, lines.length * framesEach(lines.length));
  const cells: string[] = [];
  for (const row of rows) cells.push(await cellSection(row, data, pictures));
  const cost = await costSection(data, pictures);
  const lost = await lostSections(data, pictures);
  const headline = headlineOf(rows);
  const record = rows[0] && (await data.record(rows[0].cell.id));
  return htmlPage(manifest.name, css + pageCss, `<header><p class="brand">Lethe <span>did these models really forget?</span></p>
<p>${escape(manifest.name)}</p></header>
<section class="verdict ${headline.broken ? "found" : "not-found"}" aria-labelledby="verdict">
<h1 id="verdict">${escape(headline.sentence)}</h1>
${headline.details.map((p) => `<p>${escape(p)}</p>`).join("\n")}</section>
<nav aria-label="Sections">${contents(data).map(([id, title]) => `<a href="#${id}">${title}</a>`).join(" ")}</nav>
${overviewSection(rows)}
${boardSection(data)}
${probesSection(data)}
${cost}
${madeSection(data.made, data.showImages)}
${budgetSection(rows, "budget", "How much it takes", "The share of prompts broken after so much work on each, beginning with those that " +
  "need no attack. A line ends where its attacker gave up. Lines that would lie on each other are drawn a little apart.", WORK_BUDGETS)}
<section aria-labelledby="attempts"><h2 id="attempts">Attempts</h2>
<p class="hint">Each small picture is the last of an attempt. Open one for the pictures before it, the search, the scores and the
command.</p>
${data.showImages ? "" : revealAll()}
${cells.join("\n")}
${lost}
</section>
${methodsSection(data, record)}
<section class="times" aria-labelledby="times"><h2 id="times">Seconds per prompt</h2>
${await datesText(data)}
${htmlTable("Seconds per prompt", TIMES, rows, board)}
${budgetSection(rows, "seconds", "How long it takes", "The same, by seconds on this device.", [TIME_BUDGET])}
</section>
<footer><p>Success is what the judge says of a picture, and a failed search does not prove forgetting.</p></footer>
${pictures.definitions()}`, await pageScript(client));
}

/** Ids and titles of the sections, for the way to them. */
const isOfProbe = ({ cell }: CellStatistics): boolean => isProbe(cell.kind);

function contents({ board, made }: PageData): [string, string][] {
  return [
    ["overview", "Overview"],
    ["board", "Leaderboard"],
    ...(board.rows.some(isOfProbe) ? [["probes", "Is it still in the weights?"] as [string, string]] : []),
    ...(board.effects.length > 0 ? [["effects", "Side effects"] as [string, string]] : []),
    ...(made.length > 0 ? [["made", "How they were made"] as [string, string]] : []),
    ["attempts", "Attempts"],
    ["methods", "Methods"],
    ["times", "Times"],
  ];
}

/** One switch for all pictures, which works without scripts. */
function revealAll(): string {
  return `<p class="hint reveal-all"><label><input type="checkbox" id="reveal-all"> Show all pictures. They are blurred until you ask, ` +
    `for all of them here or for one in its attempt.</label></p>`;
}

function overviewSection(rows: readonly CellStatistics[]): string {
  if (rows.length === 0) return "";
  const plots = checkpointsOf(rows).map(({ name, rows: own }) => figure(name, forestPlot(own, PAGE_THEME)));
  return `<section aria-labelledby="overview"><h2 id="overview">Overview</h2>
<p>ASR: the share of prompts that draw the concept, with the attack. A square leads to its attempts.${
    rows.some(isOfProbe) ? ' What a probe\'s number says beside its controls is <a href="#probes">below</a>.' : ""}</p>
${scrolling("ASR by checkpoint and attacker", heatMap(rows, PAGE_THEME, (r) => `#${r.cell.id}`), "chart")}
<h3 id="forest">With 95% intervals</h3>
<p class="legend"><span class="entry"><span class="key pre"></span>pre-ASR, without an attack</span>
<span class="entry"><span class="key asr"></span>ASR, with it</span></p>
<div class="curves forest">${plots.join("\n")}</div></section>`;
}

function boardSection({ board }: PageData): string {
  const { rows } = board;
  const sources = sourcesOf(rows);
  const facts = (r: CellStatistics, before: CellStatistics | undefined): string => {
    const { checkpoint, attacker, concept } = r.cell;
    const attributes = Object.entries({ checkpoint, attacker, concept }).map(([name, value]) => ` data-${name}="${escape(value)}"`);
    return `${attributes.join("")}${before?.cell.checkpoint === checkpoint ? "" : ' class="first"'}`;
  };
  const link = (r: CellStatistics): { column: string; to: string } => ({ column: "attacker", to: `#${r.cell.id}` });
  return `<section aria-labelledby="board"><h2 id="board">Leaderboard</h2>
<p>${escape(leaderboardNote(board))}</p>
<form class="filters" hidden></form>
${htmlTable("Leaderboard", LEADERBOARD, rows, board, { attributes: facts, link })}
<p>A picture shows the concept where its judge says:</p>
${definitions([...new Map(rows.map(({ cell }) => [cell.concept, visible(cell.rule)]))])}
${sourceLines(sources).map((line) => `<p class="source">${escape(line)}</p>`).join("\n")}</section>`;
}

/** Small multiples: curves for each checkpoint and concept. */
function budgetSection(rows: readonly CellStatistics[], id: string, title: string, text: string, budgets: readonly Budget[]): string {
  const attackers = searchingAttackers(rows, budgets);
  if (attackers.length === 0) return "";
  const figures = groupsOf(rows)
    .flatMap(({ name, rows: own }) => budgets.map((budget) => [name, budgetCurve(own, attackers, budget, PAGE_THEME)] as const))
    .filter(([, svg]) => svg !== "");
  return `<section aria-labelledby="${id}"><h2 id="${id}">${escape(title)}</h2><p>${escape(text)}</p>${budgetLegend(attackers)}<div ` +
    `class="curves">${figures.map(([name, svg]) => figure(name, svg)).join("\n")}</div></section>`;
}

function figure(name: string, svg: string): string {
  return `<figure>${svg}<figcaption><strong>${escape(name)}</strong></figcaption></figure>`;
}

/** What the lines stand for. */
function budgetLegend(attackers: readonly string[]): string {
  const sample = (place: number): string => {
    const { stroke, strokeDasharray: dash } = seriesLook(place, PAGE_THEME);
    return `<svg class="sample" viewBox="0 0 22 4" aria-hidden="true"><line stroke="${stroke}" stroke-width="3"` +
      `${dash === undefined ? "" : ` stroke-dasharray="${dash}"`} x1="0" x2="22" y1="2" y2="2"/></svg>`;
  };
  return `<p class="legend">${attackers.map((name, i) => `<span class="entry">${sample(i)}${escape(name)}</span>`).join("")}</p>`;
}

function methodsSection({ manifest, board }: PageData, record: Parameters<typeof methodsText>[2]): string {
  const device = record?.device;
  const facts: [string, string][] = [
    ["configuration", visible(shownPath(manifest.file))],
    ["SHA-256 with its prompts", `<code class="hash">${escape(manifest.sha256)}</code>`],
    ["Lethe", escape(manifest.lethe)],
    ...(device ? [
      ["adapter", visible(device.adapter)] as [string, string],
      ["weights, arithmetic", escape(`${device.weights}, ${device.math}`)] as [string, string],
    ] : []),
  ];
  const given = withoutLocalPaths(JSON.stringify(manifest.config, null, 1));
  return `<section aria-labelledby="methods"><h2 id="methods">Methods</h2>
<p>For a paper. The figures are in figures/ as SVG and PDF, the tables in leaderboard.tex, the references in references.bib.</p>
${code(methodsText(manifest, board.rows, record))}
<details class="again"><summary>References as BibTeX</summary>${code(bibliography(manifest, board.rows))}</details>
<details class="again"><summary>Settings and budgets, as they were given</summary>${code(given)}</details>
${definitions(facts)}
<p class="hint">Each row's files and device are in cells/CHECKPOINT/ATTACKER/CONCEPT/run.json. Every attempt has a folder and a report of
its own below it.</p></section>`;
}

async function datesText({ dates }: PageData): Promise<string> {
  const all = (await dates()).filter((d) => d !== "").toSorted();
  const day = (iso: string): string => iso.replace("T", " ").replace(/:\d\d(\.\d+)?Z$/, " UTC");
  return all.length === 0 ? "" : `<p>Made from ${escape(day(all[0]!))} to ${escape(day(all.at(-1)!))}.</p>`;
}
