import { escape, table } from "../../report/html.ts";
import { PROBES_NOTE, probesTable } from "../probe-tables.ts";
import { type ProbeVerdict, depthText, depths, probeVerdicts } from "../probe-verdict.ts";
import type { PageData } from "./data.ts";

/** From what anybody can type to what needs the weights. */
const STEPS = [["prompt", "prompt"], ["embedding", "embedding"], ["probe", "probe"], ["none", "not found"]] as const;

/** How deep each concept lies, as a strip of four steps, and each probe beside its controls. Empty where nothing was probed. */
export function probesSection({ manifest, lines }: PageData): string {
  const verdicts = probeVerdicts(manifest.cells, lines);
  if (verdicts.length === 0) return "";
  const strips = depths(manifest.cells, lines).map((one) => {
    const { checkpoint, concept, depth, by } = one;
    const steps = STEPS.map(([name, title]) => `<span class="${name === depth ? "here" : ""}">${title}</span>`).join("");
    const found = escape(`${depthText(one)}${by.length > 0 ? ` (${by.join(", ")})` : ""}`);
    return `<figure class="depth"><figcaption><strong>${escape(`${checkpoint}, ${concept}`)}</strong><span>${found}</span></figcaption>` +
      `<div class="steps" aria-hidden="true">${steps}</div>` +
      bars(verdicts.filter(({ cell }) => cell.checkpoint === checkpoint && cell.concept === concept)) +
      `</figure>`;
  });
  const { header, rows } = probesTable(verdicts);
  return (
    `<section aria-labelledby="probes"><h2 id="probes">Is it still in the weights?</h2><div class="depths">${strips.join("\n")}</div>` +
    `<p>A bar is the share of prompts on which the probe found the concept; the mark is that of its strongest control. Dark: surely more ` +
    `than every control.</p><p>${escape(PROBES_NOTE)}</p>${table(
      "Probes",
      header,
      rows.map((cells) => cells.map(escape)),
    )}</section>`
  );
}

/** Each probe's share of prompts beside that of its strongest control. The table below says the same in numbers. */
function bars(verdicts: readonly ProbeVerdict[]): string {
  const percent = (x: number): string => `${Math.round(100 * x)}%`;
  const rows = verdicts.filter((v) => v.probed.of > 0).map(({ cell, kind, probed, tests }) => {
    const rates = tests.flatMap(({ rate }) => rate?.rate ?? []); // none of an inversion, whose controls are compared by numbers
    const control = rates.length > 0 ? percent(Math.max(...rates)) : undefined;
    const text = `${cell.attacker}: ${percent(probed.rate)}, strongest control ${control ?? "compared by numbers"}`;
    return `<li class="${kind}" title="${escape(text)}"><span>${escape(cell.attacker)}</span><span class="bar">` +
      `<i style="width:${percent(probed.rate)}"></i>${control ? `<b style="left:${control}"></b>` : ""}</span></li>`;
  });
  return `<ul class="probe-bars" aria-hidden="true">${rows.join("")}</ul>`;
}
