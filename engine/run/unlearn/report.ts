import type { RgbImage } from "../../formats/picture/image.ts";
import { code, decimal, definitions, escape, htmlPage, section, table, visible } from "../report/html.ts";
import { blurHint, picture, thumbnail } from "../report/picture.ts";
import { deviceSection, filesSection, reportHeader } from "../report/record-sections.ts";
import css from "../report/report.css";
import { type Series, seriesChart } from "../report/series.ts";
import { formatBytes, formatCount, formatDuration } from "../text/format.ts";
import { fileOptions } from "../../options/values.ts";
import { shownPath, withoutLocalPaths } from "../text/local-paths.ts";
import { type LogLine, type PreviewLine, isPreview } from "./log.ts";
import type { UnlearnRecord } from "./record.ts";
import { UNLEARN_COMMAND_OPTIONS } from "./settings.ts";
import pageCss from "./report.css";

export interface UnlearnReportData {
  readonly record: UnlearnRecord;
  readonly log: readonly LogLine[];
  /** By `PreviewLine.image`. */
  readonly pictures: ReadonlyMap<string, RgbImage>;
  readonly showImages: boolean;
}

/** Longest side of the pictures in the grid. */
const SIDE = 160;

/** The report of an erasing run: one HTML page that needs nothing else and runs no script. Absolute paths are left out of it. */
export function renderUnlearnReport(data: UnlearnReportData): string {
  const { record, log } = data;
  const { settings, recipe, result, status, error } = record;
  const concepts = settings.concepts.map(visible).join(", ");
  const done = result !== null;
  const headline = done
    ? `${concepts}: erased by ${escape(settings.method)}`
    : `${concepts}: ${status === "interrupted" ? "interrupted" : "the run failed"} before there was a result`;
  const facts = done
    ? [
        `${formatCount(result.steps)} ${result.steps === 1 ? "step" : "steps"} in ${formatDuration(record.seconds)}; ` +
          `${result.loss === null ? "no loss: the weights were solved for" : `last loss ${decimal(result.loss)}`}.`,
        "This does not show that the concept is gone. What is not drawn for a plain prompt may still be found by an attack.",
      ]
    : [escape(withoutLocalPaths(error ?? "")), "The run can be gone on with where its last state was kept: the command is below."];
  const goOn = code(withoutLocalPaths(record.resumeCommand));
  const resume = done || record.resumeCommand === "" ? "" : `<p>To go on with this run:</p>${goOn}`;
  const header = reportHeader("what was erased, and what it cost", record);
  return htmlPage(`${settings.concepts.join(", ")} erased by ${settings.method}`, css + pageCss, `${header}
<section class="verdict ${done ? "not-found" : "unfinished"}" aria-labelledby="verdict"><h1 id="verdict">${headline}</h1>
${facts.filter((fact) => fact !== "").map((fact) => `<p>${fact}</p>`).join("\n")}</section>
${picturesSection(data)}
${lossSection(log)}
${effectsSection(data)}
<section aria-labelledby="recipe"><h2 id="recipe">Recipe</h2>${definitions([
    ["recipe", escape(recipe.name)],
    ["paper", visible(recipe.paper)],
    ["code", visible(recipe.code)],
    ...(result?.trained ?? []).map(({ component, tensors, parameters }): [string, string] => [
      "trained", escape(`${formatCount(tensors)} tensors of the ${component}, ${formatCount(parameters)} numbers`),
    ]),
    ...Object.entries(record.effective)
      .filter(([name, value]) => value !== null && value !== undefined && value !== false && name !== "recipe")
      .map(([name, value]): [string, string] => [name, visible(String(value))]),
  ])}</section>
${resultSection(record)}
<section aria-labelledby="reproduce"><h2 id="reproduce">Reproduce</h2>
<p>The same command on the same adapter gives the same weights. Files that lay elsewhere are shown by their names.</p>
${code(withoutLocalPaths(record.command))}${resume}</section>
${settingsSection(record)}
${deviceSection(record, false)}
${filesSection(record)}
<footer><p>Made by Lethe ${escape(record.versions.lethe)}.</p></footer>`);
}

/** Previews in the order of their prompts and steps. */
function previewsOf(log: readonly LogLine[]): { readonly steps: readonly number[]; readonly prompts: readonly PreviewLine[][] } {
  const lines = log.filter(isPreview);
  const steps = [...new Set(lines.map(({ step }) => step))].toSorted((a, b) => a - b);
  const prompts = [...new Set(lines.map(({ prompt }) => prompt))];
  return { steps, prompts: prompts.map((prompt) => lines.filter((line) => line.prompt === prompt).toSorted((a, b) => a.step - b.step)) };
}

function picturesSection({ record, log, pictures, showImages }: UnlearnReportData): string {
  const { steps, prompts } = previewsOf(log);
  if (steps.length === 0) return "";
  const last = record.result?.steps;
  const title = (step: number): string => (step === 0 ? "before" : step === last ? `after ${step}` : `step ${step}`);
  const rows = prompts.map((lines) => {
    const cells = steps.map((step) => {
      const line = lines.find((one) => one.step === step);
      const image = line && pictures.get(line.image);
      if (!image) return "<td></td>";
      const alt = `${line.prompt}, ${title(step)}`;
      return `<td>${picture(thumbnail(image, SIDE), { alt, blurred: !showImages, className: "preview" })}</td>`;
    });
    const kind = lines[0]!.erased ? '<span class="hit">erased</span>' : '<span class="miss">retained</span>';
    return `<tr><th scope="row">${visible(lines[0]!.prompt)}${kind}</th>${cells.join("")}</tr>`;
  });
  const head = steps.map((step) => `<th scope="col">${escape(title(step))}</th>`).join("");
  const { previewSeed, previewSteps, previewGuidance } = record.settings;
  const drawn = `<p>The same noise each time: seed ${previewSeed}, ${previewSteps} sampling steps, guidance ${previewGuidance}.</p>`;
  return section("pictures", "Before, during, after", `${drawn}${blurHint(!showImages)}` +
    '<div class="scroll previews" role="region" aria-label="Pictures" tabindex="0">' +
    `<table><thead><tr><th scope="col">prompt</th>${head}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`);
}

function lossSection(log: readonly LogLine[]): string {
  const lines = log.flatMap((line) => (isPreview(line) ? [] : [line]));
  if (lines.length === 0) return "";
  const names = [...new Set(lines.flatMap(({ losses }) => Object.keys(losses ?? { loss: 0 })))];
  const series = names.map((name): Series => {
    const own = lines.flatMap(({ step, loss, losses }) => {
      const value = losses ? losses[name] : loss;
      return value === undefined ? [] : [{ step, value }];
    });
    return { name, steps: own.map(({ step }) => step), values: own.map(({ value }) => value) };
  });
  return section("losses", "Losses", "<p>Every step draws another noise level, so single values jump: the thick line is the mean of a " +
    `twentieth of the steps.</p>${seriesChart("Losses", series, lines.at(-1)!.step)}`);
}

/** How far pictures moved: the erased ones should, the others should not. */
function effectsSection({ record, log, pictures }: UnlearnReportData): string {
  const { prompts } = previewsOf(log);
  const rows = prompts.flatMap((lines) => {
    const [first, last] = [lines[0]!, lines.at(-1)!];
    const [before, after] = [pictures.get(first.image), pictures.get(last.image)];
    if (!before || !after || first === last) return [];
    return [[visible(first.prompt), first.erased ? "erased" : "retained", decimal(pictureDistance(before, after), 1)]];
  });
  if (rows.length === 0 || !record.result) return "";
  return section("effects", "Side effects", "<p>How far each prompt's picture moved from before to after, as the root mean square of its " +
    "pixels' differences (0 to 255). What is erased should move, what is retained should stay.</p>" +
    table("Side effects", ["prompt", "kind", "moved by"], rows));
}

/** Root mean square of the differences of two pictures' bytes, 0 to 255. */
function pictureDistance(a: RgbImage, b: RgbImage): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += ((a.data[i] ?? 0) - (b.data[i] ?? 0)) ** 2;
  return Math.sqrt(sum / a.data.length);
}

function resultSection({ result, out }: UnlearnRecord): string {
  if (!result) return "";
  const files = result.files.map(({ name, bytes }, i) => [
    visible(name), formatBytes(bytes), i === result.files.length - 1 ? `<code class="hash">${escape(result.sha256)}</code>` : "",
  ]);
  const head = `<p>${visible(shownPath(out))}, layout ${escape(result.layout)}.</p>`;
  return section("result", "Result", head + table("Result", ["file", "size", "SHA-256"], files));
}

function settingsSection({ settings }: UnlearnRecord): string {
  const named = new Set(["model", ...fileOptions(UNLEARN_COMMAND_OPTIONS)]);
  const given = Object.entries(settings)
    .filter(([, value]) => value !== null && value !== false)
    .map(([name, value]): [string, string] => [name, visible(named.has(name) ? shownPath(String(value)) : String(value))]);
  return section("settings", "Settings", definitions(given));
}
