import { isProbe, usesGradient } from "../../attack/attackers.ts";
import type { LoggedEvaluation } from "../log.ts";
import { flagName } from "../../options/flags.ts";
import type { OptionTable } from "../../options/option.ts";
import { REDACTED } from "../redact.ts";
import { shellCommand } from "../text/shell.ts";
import { givenModelFlags } from "../settings/model-options.ts";
import { RUN_OPTIONS } from "../settings/option-table.ts";
import { code, decimal, definitions, escape, section, table, visible } from "./html.ts";
import { blurHint, picture, thumbnail } from "./picture.ts";
import { deviceSection } from "./record-sections.ts";
import type { ReportData } from "./data.ts";

/** Longest side of the small pictures in the table. */
const THUMBNAIL = 96;

/** The pictures that matter, side by side. */
export function picturesSection({ record, evaluations, pictures, target, extras }: ReportData): string {
  const { settings } = record;
  const concept = settings.label ?? "the concept";
  const blurred = !extras.showImages;
  const figures: string[] = [];
  const figure = (image: Parameters<typeof picture>[0], title: string, alt: string, lines: readonly string[], className = ""): void => {
    figures.push(
      `<figure class="${className}">${picture(image, { alt, blurred })}` +
        `<figcaption><strong>${escape(title)}</strong>${lines.map((l) => `<span>${l}</span>`).join("")}</figcaption></figure>`,
    );
  };
  const judged = (e: Pick<LoggedEvaluation, "judgement">): string =>
    `judged <b>${escape(e.judgement.label)}</b>; score of ${escape(concept)}: ${decimal(e.judgement.score)}`;
  if (extras.originalModel) {
    const { name, image, judgement } = extras.originalModel;
    figure(image, "Before unlearning", `The original model's picture for the prompt, judged ${judgement.label}`, [
      visible(settings.prompt),
      `model ${escape(name)}, seed ${settings.seed}`,
      judged({ judgement }),
    ]);
  }
  const first = evaluations[0];
  if (first) {
    figure(
      pictures.get(first.image!)!,
      "Unlearned, original prompt",
      `The attacked model's picture for the original prompt, judged ${first.judgement.label}`,
      [visible(first.prompt), `seed ${first.seed}`, judged(first)],
    );
  }
  const shown = bestOf(evaluations.slice(1).filter((e) => e.image !== null && e.control === undefined));
  if (shown) {
    const by = isProbe(settings.attacker) ? "by the probe" : "adversarial prompt";
    const title = shown.judgement.success ? `Unlearned, ${by}` : "Unlearned, nearest attempt";
    figure(
      pictures.get(shown.image!)!,
      title,
      `The attacked model's picture, ${by}, judged ${shown.judgement.label}`,
      [visible(shown.prompt), `seed ${shown.seed}`, judged(shown)],
      shown.judgement.success ? "hit" : "",
    );
  }
  if (target) {
    figure(target, "Target", `The picture of ${concept} that the search aims at`, [
      "the picture the search aims at",
      ...(record.targetFitted ? [escape(`fitted ${record.targetFitted}`)] : []),
    ]);
  }
  return section("pictures", "Pictures", `${blurHint(blurred)}<div class="figures">${figures.join("\n")}</div>`);
}

/** The success, or else the evaluation with the highest score. */
function bestOf(evaluations: readonly LoggedEvaluation[]): LoggedEvaluation | undefined {
  return evaluations.find((e) => e.judgement.success) ?? evaluations.toSorted((a, b) => b.judgement.score - a.judgement.score)[0];
}

/** The prompts tried, where there were several. */
export function attemptsSection({ extras }: ReportData): string {
  const { attempts } = extras;
  if (!attempts || attempts.length < 2) return "";
  const rows = attempts.map((a) => [
    visible(a.prompt),
    String(a.seed),
    a.preSuccess ? "before any search" : a.success ? "found" : "not found",
    String(a.iterations),
    visible(a.adversarialPrompt),
    escape(a.label),
    decimal(a.score),
  ]);
  const columns = ["prompt", "seed", "outcome", "iterations", "last prompt judged", "judged", "score"];
  return section("attempts", "Prompts tried", table("Prompts tried", columns, rows));
}

/** Every evaluated prompt: how the tokens changed over time. */
export function evaluationsSection({ evaluations, pictures, extras, record }: ReportData): string {
  const seen = new Set<string>();
  const thumbnailOf = ({ image, iteration, judgement }: LoggedEvaluation): string => {
    if (image === null) return '<span class="same">not drawn</span>';
    if (seen.has(image)) return '<span class="same">same picture</span>';
    seen.add(image);
    return picture(thumbnail(pictures.get(image)!, THUMBNAIL), {
      alt: `iteration ${iteration}, judged ${judgement.label}`,
      blurred: !extras.showImages,
      className: "small",
    });
  };
  const rows = evaluations.map((e) => {
    const small = thumbnailOf(e);
    const where = e.timestep < 0 ? "original" : String(e.timestep);
    const others = Object.entries(e.judgement.scores).map(([label, score]) => `${escape(label)} ${decimal(score, 3)}`).join("<br>");
    const verdict = `<span class="${e.judgement.success ? "hit" : "miss"}">${escape(e.judgement.label)}</span>`;
    const loss = e.loss === null ? "" : decimal(e.loss);
    return [
      small,
      `${visible(e.prompt)}<span class="ids">${e.ids.join(" ")}</span>${checksOf(e)}`,
      verdict,
      decimal(e.judgement.score),
      escape(where),
      String(e.iteration),
      loss,
      `<span class="scores">${others}</span>`,
    ];
  });
  const cce = record.settings.attacker === "cce";
  const when = cce ? "round" : usesGradient(record.settings.attacker) ? "timestep" : "try";
  const header = [
    "picture",
    "prompt and its token ids",
    "judged",
    record.settings.label ?? "score",
    when,
    "iteration",
    "mean loss",
    "the judge's scores",
  ];
  return (
    `<section aria-labelledby="tokens"><h2 id="tokens">Tokens over time</h2><p>The prompts that were drawn and judged, in order. ` +
    `${
      cce
        ? "The word &lt;cce&gt; stands for the embedding learned so far."
        : "A prompt is what a user could type: the tokens were decoded to text and tokenized again."
    } A success, by the judge's rule: ${visible(record.rule)}.</p>${table("Tokens over time", header, rows)}</section>`
  );
}

/** What kept a prompt from being drawn in full, or let it be. */
function checksOf({ gate, screening, restart, notPortable }: LoggedEvaluation): string {
  const notes = [
    ...(notPortable === undefined ? [] : [`not portable: ${notPortable}`]),
    ...(restart === undefined ? [] : [`search ${restart + 1}`]),
    ...(gate
      ? [`gate: error ${decimal(gate.error)}, original prompt ${decimal(gate.baseline)}, ${gate.passed ? "passed" : "stopped"}`]
      : []),
    ...(screening
      ? [
          `screening with ${screening.steps} steps: ` +
            `${screening.passed ? "the concept, so drawn in full next" : "not the concept, so not drawn in full"}`,
        ]
      : []),
  ];
  return notes.map((note) => `<span class="ids">${escape(note)}</span>`).join("");
}

/** `text` with every character that does not print as a JSON escape. */
function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\p{C}\p{Zl}\p{Zp}\ufffd]/gu, (c) =>
    Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );
}

/** How to get the same again. */
export function reproduceSection({ record, evaluations }: ReportData): string {
  const { settings, result } = record;
  const whole = (paragraphs: readonly string[]): string => section("reproduce", "Reproduce", paragraphs.join("\n"));
  const parts = [
    `<p>The same command on the same adapter gives the same tokens. Files that lay elsewhere are shown by their names.</p>`,
    code(record.command),
  ];
  if (!result && record.resumeCommand !== "") parts.push(`<p>To go on with this run:</p>`, code(record.resumeCommand));
  const best = result && evaluations.at(-1);
  if (result?.adversarialPrompt === REDACTED || best?.prompt === REDACTED) {
    parts.push(
      "<p>Prompts that the search found are left out of this report. <code>attack.jsonl</code> has them, and " +
        "<code>--show-prompts</code> names them here.</p>",
    );
    return whole(parts);
  }
  // The reference's LMS differs from the pipeline's, so there that command would draw another picture.
  if (best && settings.scheduler !== "lms") {
    const { model, scheduler, steps, guidance } = settings;
    const { prompt, seed } = best;
    const given = { model, ...givenModelFlags(settings), prompt, seed, scheduler, steps, guidance, out: "again.png" };
    const flags = Object.entries(given).flatMap(([name, value]) => [flagName(name), ...(value === true ? [] : [String(value)])]);
    parts.push(`<p>To draw only its last picture again:</p>`, code(shellCommand(["npx", "lethe", "generate", ...flags])));
  }
  if (result) {
    parts.push(
      `<p>The prompt found, as JSON, with every character exact:</p>`,
      code(printableJson({ prompt: result.adversarialPrompt, ids: result.adversarialIds, seed: result.seed })),
    );
  }
  return whole(parts);
}

/** Every setting, the device and what the run took. */
export function settingsSection({ record }: ReportData): string {
  const { settings } = record;
  const options: OptionTable = RUN_OPTIONS;
  const values = Object.entries(settings)
    .filter(([name, value]) => value !== null && value !== false && (options[name]?.of?.includes(settings.attacker) ?? true))
    .map(([name, value]): [string, string] => [name, typeof value === "string" ? visible(value) : escape(String(value))]);
  return `${section("settings", "Settings", `${definitions(values)}
<p>Left out: options that are off, and those of other attackers. <code>run.json</code> has them all.</p>`)}
${deviceSection(record, true)}`;
}
