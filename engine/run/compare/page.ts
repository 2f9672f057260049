import type { RgbImage } from "../../formats/picture/image.ts";
import { sharedPrompt } from "../redact.ts";
import { decimal, escape, htmlPage, table, visible } from "../report/html.ts";
import { blurHint, picture, thumbnail } from "../report/picture.ts";
import css from "../report/report.css";
import { shownPath } from "../text/local-paths.ts";
import { VERSION } from "../version.ts";
import pageCss from "./page.css";
import type { Comparison, Outcome, Pair, PairedRow } from "./pairs.ts";
import { SCORES_HEADER, scoreCells } from "./scores.ts";
import { COMPARISON_HEADER, COMPARISON_NOTE, comparisonCells, headline } from "./words.ts";

/** Longest side of the pictures. */
const SIDE = 128;

export interface ComparisonPage {
  readonly comparison: Comparison;
  readonly showImages: boolean;
  /** Found prompts of harmful concepts are named. */
  readonly showPrompts: boolean;
  /** Of an Outcome's `image`; undefined if it is not there any more. */
  readonly image: (side: "first" | "second", path: string) => Promise<RgbImage | undefined>;
}

/** A comparison as one HTML page without scripts: headline, table, and the pictures side by side, those that changed first. */
export async function comparisonPage(data: ComparisonPage): Promise<string> {
  const { first, second, rows, scores, cautions, unpaired } = data.comparison;
  const sections: string[] = [];
  for (const row of rows) sections.push(await rowSection(row, data));
  const left = [unpaired.first, unpaired.second].map((list) => list.length);
  const notes = [
    ...cautions,
    ...(left.some((n) => n > 0)
      ? [`Left out, since the other side has no counterpart: ${left[0]} of the first, ${left[1]} of the second.`]
      : []),
  ];
  return htmlPage(
    `${first.title} and ${second.title}`,
    css + pageCss,
    `<header><p class="brand">Lethe <span>what changed between the two?</span></p></header>
<h1>${escape(first.title)} <span class="versus">and</span> ${escape(second.title)}</h1>
<p class="headline">${escape(headline(data.comparison))}</p>
${notes.length > 0 ? `<ul class="cautions">${notes.map((n) => `<li>${escape(n)}</li>`).join("")}</ul>` : ""}
<dl class="sides"><div><dt>first</dt><dd>${escape(shownPath(first.name))}</dd></div>
<div><dt>second</dt><dd>${escape(shownPath(second.name))}</dd></div></dl>
<section aria-labelledby="rows"><h2 id="rows">Row by row</h2><p>${escape(COMPARISON_NOTE)}</p>
${table("Row by row", COMPARISON_HEADER, rows.map((row) => comparisonCells(row).map(escape)))}</section>
${scores.length === 0 ? "" : `<section aria-labelledby="scores"><h2 id="scores">What it cost</h2>
${table("Scores of pictures", SCORES_HEADER, scores.map((pair) => scoreCells(pair).map(escape)))}</section>`}
<section aria-labelledby="pairs"><h2 id="pairs">Prompt by prompt</h2>${blurHint(!data.showImages)}
${sections.join("\n")}</section>
<footer><p>Success is what the judge says of a picture. Lethe ${escape(VERSION)}.</p></footer>`,
  );
}

async function rowSection({ name, pairs }: PairedRow, data: ComparisonPage): Promise<string> {
  const changed = (pair: Pair): number => Number(pair.first.success !== pair.second.success);
  const parts: string[] = [];
  for (const pair of pairs.toSorted((a, b) => changed(b) - changed(a))) parts.push(await pairArticle(pair, data));
  return `<h3>${escape(name)}</h3><div class="comparison">${parts.join("\n")}</div>`;
}

async function pairArticle(pair: Pair, data: ComparisonPage): Promise<string> {
  const { first, second } = pair;
  const outcome = first.success === second.success ? (first.success ? "both broken" : "neither broken") : "changed";
  const figures = [await figure("first", first, data), await figure("second", second, data)];
  return `<article class="pair${outcome === "changed" ? " changed" : ""}"><h4>case ${escape(first.case)}: ${visible(first.prompt)} ` +
    `<small>${outcome}</small></h4><div class="two">${figures.join("")}</div></article>`;
}

async function figure(side: "first" | "second", outcome: Outcome, { image, showImages, showPrompts }: ComparisonPage): Promise<string> {
  const found = outcome.image === "" ? undefined : await image(side, outcome.image);
  const alt = `${side}, case ${outcome.case}, judged ${outcome.label}`;
  const drawn = found ? picture(thumbnail(found, SIDE), { alt, blurred: !showImages }) : `<span class="none">no picture</span>`;
  const how = outcome.preSuccess ? "before the attack" : outcome.success ? `found, ${outcome.iterations} iterations` : "not found";
  return (
    `<figure class="${outcome.success ? "hit" : ""}">${drawn}<figcaption><strong>${side}: ${how}</strong><span>judged ` +
    `<b>${escape(outcome.label)}</b>, score ${decimal(outcome.score)}</span>` +
    `${visible(sharedPrompt(outcome, outcome, showPrompts))}</figcaption></figure>`
  );
}
