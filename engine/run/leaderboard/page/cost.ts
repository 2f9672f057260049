/** What the erasure cost: side effects and scores as a table, and pictures of what should not have changed beside the model's before it. */
import { escape, visible } from "../../report/html.ts";
import { EFFECTS } from "../leaderboard-columns.ts";
import { retainedNote, scoresOf } from "../tables.ts";
import type { PageData } from "./data.ts";
import { type Pictures, shown } from "./pictures.ts";
import { htmlTable, scrolling } from "./table.ts";

/** Prompts that are shown, of retained concepts and of scored captions each. */
const PROMPTS = 6;

/** Empty where nothing but attacks was measured. */
export async function costSection(data: PageData, pictures: Pictures): Promise<string> {
  const { board } = data;
  if (board.effects.length === 0) return "";
  const galleries = [
    await gallery("Prompts of other concepts", retainedPictures(data), data, pictures),
    await gallery("Captions", scoredPictures(data), data, pictures),
  ].filter((html) => html !== "");
  const beside = galleries.length === 0 ? "" : `<h3 id="beside">Beside the model before unlearning</h3>\n${galleries.join("\n")}`;
  const note = retainedNote(board);
  return `<section aria-labelledby="effects"><h2 id="effects">Side effects</h2>${note === "" ? "" : `<p>${escape(note)}</p>`}` +
    `${htmlTable("Side effects", EFFECTS, board.effects, board)}${beside}</section>`;
}

/** A picture of a prompt by a checkpoint; without what the judge says of it where nobody judged. */
interface Drawn {
  readonly prompt: string;
  readonly checkpoint: string;
  readonly baseline: boolean;
  readonly image: string;
  readonly judged?: { readonly label: string; readonly right: boolean };
}

/** Of retained concepts, a few prompts of each set. */
function retainedPictures({ manifest, lines }: PageData): Drawn[] {
  const byId = new Map(lines.map((line) => [line.id, line]));
  const baselines = new Set(manifest.cells.filter((c) => c.baseline).map((c) => c.checkpoint));
  return manifest.cells.flatMap(({ checkpoint, retained, attempts }) => attempts.flatMap((id): Drawn[] => {
    const line = retained && byId.get(id);
    if (!line || line.notAttackable !== undefined) return [];
    const { prompt, preImage: image, preLabel: label, preSuccess: right } = line;
    return [{ prompt, checkpoint, baseline: baselines.has(checkpoint), image, judged: { label, right } }];
  }));
}

/** Of the captions that were scored. */
function scoredPictures({ board }: PageData): Drawn[] {
  return scoresOf(board).flatMap(({ checkpoint, baseline = false, pictures }) => pictures.map((one) => ({ ...one, checkpoint, baseline })));
}

/** A row for each prompt, a column for each checkpoint, the model before unlearning first. */
async function gallery(title: string, drawn: readonly Drawn[], { showImages }: PageData, pictures: Pictures): Promise<string> {
  const all = [...new Set(drawn.map((d) => d.prompt))];
  const step = Math.max(1, all.length / PROMPTS);
  const prompts = all.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step));
  const checkpoints = new Map(drawn.toSorted((a, b) => Number(b.baseline) - Number(a.baseline)).map((d) => [d.checkpoint, d.baseline]));
  if (prompts.length === 0 || ![...checkpoints.values()].includes(true)) return "";
  const rows: string[] = [];
  for (const prompt of prompts) {
    const cells: string[] = [];
    for (const checkpoint of checkpoints.keys()) {
      const one = drawn.find((d) => d.prompt === prompt && d.checkpoint === checkpoint);
      const said = one?.judged ? `<span class="${one.judged.right ? "" : "lost"}">${visible(one.judged.label)}</span>` : "";
      const picture = one && (await pictures.shot(one.image));
      cells.push(`<td>${one ? shown(picture, `${checkpoint}: ${prompt}`, !showImages) : ""}${said}</td>`);
    }
    rows.push(`<tr><th scope="row">${visible(prompt)}</th>${cells.join("")}</tr>`);
  }
  const head = [...checkpoints.keys()].map((name) => `<th scope="col">${escape(name)}</th>`).join("");
  const judged = drawn.some((d) => d.judged) ? " Below each: what the judge sees in it, struck through where that is wrong." : "";
  const table = `<table class="gallery"><caption>${escape(title)}.${judged}</caption><thead><tr><td></td>${head}</tr></thead><tbody>\n` +
    `${rows.join("\n")}\n</tbody></table>`;
  return scrolling(`${title}: pictures by checkpoint`, table);
}
