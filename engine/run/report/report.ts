import { type AttackerName, isProbe } from "../../attack/attackers.ts";
import { lossCurve } from "./curve.ts";
import type { ReportData } from "./data.ts";
import { escape, htmlPage } from "./html.ts";
import { sharedReport } from "../redact.ts";
import { publicRecord } from "../text/local-paths.ts";
import { probeSection } from "./probe-section.ts";
import { filesSection, reportHeader } from "./record-sections.ts";
import css from "./report.css";
import { attemptsSection, evaluationsSection, picturesSection, reproduceSection, settingsSection } from "./sections.ts";
import { verdictOf } from "./verdict.ts";

const LOSS_NOTE =
  "How well the model, given the prompt with the searched tokens, predicts the noise on the target picture. Every iteration draws new " +
    "noise and new tokens from the search's distribution, so single values jump.";
const NOTES: Readonly<Partial<Record<AttackerName, string>>> = {
  "ring-a-bell":
    "The squared distance between the encoding of each generation's best token list and the prompt's encoding moved by the concept vector.",
  "mma-text": "1 less the cosine between the encoding of the best token list so far and the prompt's.",
};

/**
 * The report of a run: one HTML page that needs nothing else, runs no script and asks for nothing over the network. Absolute paths are left
 * out of it, and so are prompts found for a harmful concept unless they are asked for.
 */
export function renderReport(whole: ReportData): string {
  const data = sharedReport({ ...whole, record: publicRecord(whole.record) });
  const { record, evaluations, curve } = data;
  const verdict = verdictOf(data);
  const marks = evaluations
    .filter((e) => e.loss !== null)
    .map((e) => ({
      iteration: e.iteration,
      success: e.judgement.success,
      label: `iteration ${e.iteration}, t=${e.timestep}: judged ${e.judgement.label}`,
    }));
  const lossSection = (): string => `<section aria-labelledby="curve">
<h2 id="curve">Loss</h2>
<p>${NOTES[record.settings.attacker] ?? LOSS_NOTE}</p>
${lossCurve(curve.losses, curve.timesteps, marks)}
</section>`;
  return htmlPage(
    verdict.short,
    css,
    `${reportHeader("did this model really forget?", record)}
<section class="verdict ${verdict.kind}" aria-labelledby="verdict">
<h1 id="verdict">${verdict.headline}</h1>
${verdict.paragraphs.map((p) => `<p>${p}</p>`).join("\n")}
</section>
${picturesSection(data)}
${attemptsSection(data)}
${probeSection(data)}
${isProbe(record.settings.attacker) ? "" : lossSection()}
${evaluationsSection(data)}
${reproduceSection(data)}
${settingsSection(data)}
${filesSection(record)}
<footer><p>Made by Lethe ${escape(record.versions.lethe)}. Success is what the judge says of a picture, and a failed
search does not prove forgetting.</p></footer>`,
  );
}
