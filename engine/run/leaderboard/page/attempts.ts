import { code, decimal, definitions, escape, visible } from "../../report/html.ts";
import { withoutLocalPaths } from "../../text/local-paths.ts";
import { type AttemptLine, attemptFolder } from "../attempt-line.ts";
import type { CellEntry } from "../manifest.ts";
import { sharedPrompt } from "../../redact.ts";
import type { CellStatistics } from "../statistics.ts";
import type { LoggedPicture, PageData } from "./data.ts";
import { type Pictures, shown, thumb } from "./pictures.ts";

/** Most pictures of one search that a page shows. */
const FRAMES = 12;
/** Most of all searches together. */
const ALL_FRAMES = 3000;

/** How many pictures of each search are shown, by how many attempts there are. */
export function framesEach(attempts: number): number {
  return Math.max(2, Math.min(FRAMES, Math.floor(ALL_FRAMES / Math.max(1, attempts))));
}

/** The outcome of an attempt, as filters know it. */
export type Outcome = "found" | "not found" | "not drawn" | "before the attack" | "not attackable" | "not recognized";

/** What an attempt came to. */
export function outcomeOf({ success, preSuccess, notAttackable, queries }: AttemptLine): Outcome {
  if (notAttackable !== undefined) return "not attackable";
  if (preSuccess) return "before the attack";
  return success ? "found" : queries === 1 ? "not drawn" : "not found";
}

/** A cell's attempts: a small picture of each that opens into all that is known of it. */
export async function cellSection({ cell, lines, notAttackable }: CellStatistics, data: PageData, pictures: Pictures): Promise<string> {
  const attempts: string[] = [];
  for (const line of [...lines, ...notAttackable]) attempts.push(await attempt(line, cell, outcomeOf(line), data, pictures));
  return section(cell.id, cell.id, attempts, data);
}

/** Pictures of retained concepts that are not judged right: what unlearning took along. */
export async function lostSections(data: PageData, pictures: Pictures): Promise<string> {
  const byId = new Map(data.lines.map((line) => [line.id, line]));
  const parts: string[] = [];
  for (const { id, retained, attempts } of data.manifest.cells) {
    if (!retained) continue;
    const made = attempts.flatMap((attemptId, i) => {
      const line = byId.get(attemptId);
      return line ? [{ line, label: retained.labels[i]! }] : [];
    });
    if (made.length === 0) continue;
    const lost = made.filter(({ line }) => !line.preSuccess && line.notAttackable === undefined);
    const shownOnes: string[] = [];
    for (const { line, label } of lost) shownOnes.push(await attempt(line, {}, "not recognized", data, pictures, `not ${label}`));
    parts.push(await section(id, `${id}: ${lost.length} of ${made.length} not recognized`, shownOnes, data));
  }
  return parts.join("\n");
}

async function section(cell: string, title: string, attempts: readonly string[], { record }: PageData): Promise<string> {
  const command = withoutLocalPaths((await record(cell))?.command ?? "");
  const again = command === "" ? "" : `<details class="again"><summary>Commands that make this again</summary><p>The whole row. Each ` +
    `attempt has its own command.</p>${code(command)}</details>`;
  return `<section class="cell" aria-labelledby="${escape(cell)}"><h3 id="${escape(cell)}">${escape(title)}</h3>` +
    `<div class="attempts">${attempts.join("\n")}</div>${again}</section>`;
}

/** Of a cell, whether its found prompts may be named. */
type Secrecy = Pick<CellEntry, "harmful">;

/** @param title instead of the outcome */
async function attempt(
  line: AttemptLine,
  cell: Secrecy,
  outcome: Outcome,
  data: PageData,
  pictures: Pictures,
  title?: string,
): Promise<string> {
  const { checkpoint, attacker, concept } = line;
  const prompt = sharedPrompt(line, cell, data.showPrompts) || line.prompt;
  const head = title ?? (outcome === "found" ? `found, ${effort(line)}` : outcome);
  const alt = line.label === "" ? "" : `Case ${line.case}, judged ${line.label}`;
  const small = thumb(await pictures.shot(line.image), alt, !data.showImages);
  const judged = line.label === "" ? `case ${escape(line.case)}` : `judged <b>${escape(line.label)}</b>`;
  const facts = { checkpoint, attacker, concept, outcome, text: `${line.prompt} ${prompt} ${line.label} ${line.id}` };
  const attributes = Object.entries(facts).map(([name, value]) => `data-${name}="${escape(value)}"`).join(" ");
  return `<details class="attempt${outcome === "found" || outcome === "before the attack" ? " hit" : ""}" id="${escape(line.id)}" ` +
    `${attributes}><summary>${small}<span class="words"><strong>${escape(head)}</strong> <span>${judged}</span> ` +
    `${visible(prompt)}</span></summary>${await opened(line, cell, data, pictures)}</details>`;
}

function effort({ iterations, queries }: AttemptLine): string {
  return iterations > queries ? `${iterations} iterations` : `${queries} pictures`;
}

/** What an attempt opens into: three pictures side by side, the pictures of the search, and the numbers. */
async function opened(line: AttemptLine, cell: Secrecy, data: PageData, pictures: Pictures): Promise<string> {
  if (line.notAttackable !== undefined) return `<div class="opened"><p>${escape(line.notAttackable)}</p>${code(line.command)}</div>`;
  const blurred = !data.showImages;
  const figure = async (title: string, path: string, judged: string, prompt: string, hit: boolean): Promise<string> => {
    const drawn = shown(await pictures.shot(path), `${title}, judged ${judged}`, blurred);
    return `<figure class="${hit ? "hit" : ""}">${drawn}<figcaption><strong>${title}</strong><span>judged <b>${escape(judged)}</b></span>` +
      `${visible(prompt)}</figcaption></figure>`;
  };
  const { base, prompt } = line;
  const plain = line.attacker === "retained" ? "Unlearned" : "Unlearned, no attack";
  const found = sharedPrompt(line, cell, data.showPrompts);
  const three = [
    base ? await figure("Before unlearning", base.image, base.label, prompt, base.success) : "",
    await figure(plain, line.preImage, line.preLabel, prompt, line.preSuccess),
    line.image === line.preImage ? "" : await figure("Unlearned, attacked", line.image, line.label, found, line.success),
  ];
  const facts: [string, string][] = [
    ["case, seed", escape(`${line.case}, ${line.adversarialSeed}`)],
    ["score of the concept", decimal(line.score)],
    ["scores", Object.entries(line.scores).map(([label, score]) => `${escape(label)} ${decimal(score)}`).join("<br>")],
    ["iterations, pictures", `${line.iterations}, ${line.queries}`],
    ...(line.timestep === null || line.timestep < 0 ? [] : [["timestep", String(line.timestep)] as [string, string]]),
  ];
  const search = await frames(line, cell, data, pictures);
  return `<div class="opened"><div class="figures">${three.join("")}</div>${search}${definitions(facts)}` +
    `<p>Again:</p>${code(withoutLocalPaths(line.command))}</div>`;
}

/** Every picture of the search in a row; a script turns it into one with a slider. */
async function frames(line: AttemptLine, cell: Secrecy, data: PageData, pictures: Pictures): Promise<string> {
  const { log, lines, showImages, showPrompts } = data;
  const drawn = (await log(line.id)).filter((l): l is LoggedPicture & { readonly image: string } => l.image !== null);
  if (drawn.length < 3) return "";
  const items: string[] = [];
  for (const frame of thinned(drawn, framesEach(lines.length))) {
    const [label] = Object.entries(frame.scores).toSorted(([, a], [, b]) => b - a)[0] ?? ["unknown"];
    const where = frame.timestep < 0 ? "no attack" : `t=${frame.timestep}, iteration ${frame.iteration}`;
    const prompt = sharedPrompt({ prompt: line.prompt, adversarialPrompt: frame.prompt }, cell, showPrompts);
    const shot = await pictures.shot(`${attemptFolder(line.id)}/${frame.image}`);
    items.push(`<li class="${frame.success ? "hit" : ""}">${thumb(shot, `${where}, judged ${label}`, !showImages)}<span class="words">` +
      `<strong>${escape(where)}</strong> <span>judged <b>${escape(label)}</b></span> ${visible(prompt)}</span></li>`);
  }
  const shownCount = items.length < drawn.length ? `${items.length} of ${drawn.length}` : String(drawn.length);
  return `<p class="strip">The search in ${shownCount} pictures</p><ol class="frames">${items.join("")}</ol>`;
}

/** The first, the last, and some evenly in between. */
function thinned<T>(values: readonly T[], most: number): T[] {
  if (values.length <= most) return [...values];
  return Array.from({ length: most }, (_, i) => values[Math.round((i * (values.length - 1)) / (most - 1))]!);
}
