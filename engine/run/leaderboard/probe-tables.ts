import { type ControlTest, depthText, type DepthOfConcept, type ProbeVerdict, type VerdictKind } from "./probe-verdict.ts";
import { type TextTable, percent } from "./columns.ts";
import { markdownTable } from "./tables.ts";

const KINDS: Readonly<Record<VerdictKind, string>> = {
  remains: "knowledge remains",
  abstains: "abstains: not surely better than a control",
  "not-found": "not found",
  "no-controls": "no verdict: without controls",
  plain: "the plain prompts succeed",
};

/** Each probe beside its controls. */
export function probesTable(verdicts: readonly ProbeVerdict[]): TextTable {
  return {
    header: ["checkpoint", "probe", "concept", "probed", "found", "controls: found (p)", "verdict"],
    names: 3,
    rows: verdicts.map(({ cell, kind, probed, tests, missing }) => [
      cell.checkpoint,
      cell.attacker,
      cell.concept,
      String(probed.of),
      probed.of === 0 ? "-" : percent(probed),
      [...tests.map(testText), ...missing.map((m) => `${m}: missing`)].join("; ") || "-",
      KINDS[kind],
    ]),
  };
}

function testText({ control, measure, probeBetter, controlBetter, p, rate, holds }: ControlTest): string {
  const what = rate ? `${rate.count}/${rate.of}` : `${measure} better ${probeBetter}, worse ${controlBetter}`;
  return `${control} ${what} (p ${p.toPrecision(2)}${holds ? "" : ", fails"})`;
}

/** What the columns mean. */
export const PROBES_NOTE =
  "Probed: prompts that do not draw the concept by themselves. Found: of these, prompts on which any try is judged the concept; " +
  "brackets: Wilson 95% intervals. Controls are made with the same effort and compared prompt by prompt: p is of the exact McNemar test, " +
  "of measured numbers of the sign test. Knowledge remains only where the probe is better than every control with p below 0.05. Where it " +
  "is not, the probe says nothing, and the failure of a probe never shows forgetting.";

/** Depth of every checkpoint and concept. */
export function depthsTable(list: readonly DepthOfConcept[]): TextTable {
  return {
    header: ["checkpoint", "concept", "headline", "by"],
    names: 4,
    rows: list.map((one) => [one.checkpoint, one.concept, depthText(one), one.by.join(", ") || "-"]),
  };
}

/** probes.md */
export function probesMarkdown(title: string, verdicts: readonly ProbeVerdict[], list: readonly DepthOfConcept[]): string {
  return `# ${title}: probes\n\n${markdownTable(depthsTable(list))}\n${markdownTable(probesTable(verdicts))}\n${PROBES_NOTE}\n`;
}
