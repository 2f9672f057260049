import { escape, table } from "../../report/html.ts";
import { PROBES_NOTE, probesTable } from "../probe-tables.ts";
import { DEPTHS, depths, probeVerdicts } from "../probe-verdict.ts";
import type { PageData } from "./data.ts";

/** From what anybody can type to what needs the weights. */
const STEPS = [["prompt", "prompt"], ["embedding", "embedding"], ["probe", "probe"], ["none", "not found"]] as const;

/** How deep each concept lies, as a strip of four steps, and each probe beside its controls. Empty where nothing was probed. */
export function probesSection({ manifest, lines }: PageData): string {
  const verdicts = probeVerdicts(manifest.cells, lines);
  if (verdicts.length === 0) return "";
  const strips = depths(manifest.cells, lines).map(({ checkpoint, concept, depth, by }) => {
    const steps = STEPS.map(([name, title]) => `<span class="${name === depth ? "here" : ""}">${title}</span>`).join("");
    const found = escape(`${DEPTHS[depth]}${by.length > 0 ? `: ${by.join(", ")}` : ""}`);
    return `<figure class="depth"><figcaption><strong>${escape(`${checkpoint}, ${concept}`)}</strong><span>${found}</span></figcaption>` +
      `<div class="steps" aria-hidden="true">${steps}</div></figure>`;
  });
  const { header, rows } = probesTable(verdicts);
  return (
    `<section aria-labelledby="probes"><h2 id="probes">Is it still in the weights?</h2><div class="depths">${strips.join("\n")}</div>` +
    `<p>${escape(PROBES_NOTE)}</p>${table(
      "Probes",
      header,
      rows.map((cells) => cells.map(escape)),
    )}</section>`
  );
}
