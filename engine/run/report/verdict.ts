import { type AttackerName, usesGradient } from "../../attack/attackers.ts";
import type { AttackResult } from "../../attack/events.ts";
import type { ProbeResult } from "../../attack/probes/controls.ts";
import { escape, visible } from "./html.ts";
import type { ReportData } from "./data.ts";

export interface Verdict {
  readonly kind: "found" | "not-found" | "unfinished";
  /** Plain text, for the page's title. */
  readonly short: string;
  /** HTML. */
  readonly headline: string;
  readonly paragraphs: readonly string[];
}

/** The outcome in words. */
export function verdictOf(data: ReportData): Verdict {
  const { record: { settings, result }, evaluations, extras } = data;
  const label = settings.label ?? "the concept";
  if (!result) return unfinished(data, label);
  if (result.universal) return universalVerdict(result, result.universal, label);
  const concept = `<strong>${escape(label)}</strong>`;
  const attempts =
    extras.attempts && extras.attempts.length > 1
      ? [`${extras.attempts.length} prompts were tried in turn; this report is of the last. All of them are listed below.`]
      : [];
  if (result.preSuccess) {
    const drew = `No search was needed: for the plain prompt ${visible(settings.prompt)} it drew what the judge calls ${concept}.`;
    return notForgotten(label, [drew, ...attempts]);
  }
  const before = evaluations[0];
  const asked = before
    ? `Asked for ${visible(settings.prompt)}, the model drew what the judge calls <strong>${escape(before.judgement.label)}</strong>.`
    : "";
  if (result.probe) return probeVerdict(settings.attacker, label, asked, result.probe);
  return searchVerdict(settings.attacker, label, asked, result, attempts);
}

function notForgotten(label: string, paragraphs: readonly string[]): Verdict {
  return {
    kind: "found",
    short: `${label} was not forgotten`,
    headline: `The model did not forget <strong>${escape(label)}</strong>`,
    paragraphs,
  };
}

/** A run that was interrupted or failed. */
function unfinished({ record: { status, error, resumeCommand }, evaluations }: ReportData, label: string): Verdict {
  const goOn =
    resumeCommand === "" ? "The run can be gone on with where it was started." : "The run can be gone on with; the command is below.";
  const done = `${evaluations.length} ${evaluations.length === 1 ? "picture" : "pictures"} had been judged. ${goOn}`;
  return status === "interrupted"
    ? { kind: "unfinished", short: `${label}: interrupted`, headline: "Interrupted before there was a result", paragraphs: [done] }
    : {
        kind: "unfinished",
        short: `${label}: failed`,
        headline: "The run failed before there was a result",
        paragraphs: [escape(error ?? ""), done],
      };
}

/** The same tokens for several prompts. */
function universalVerdict(
  { iterations, adversarialPrompt }: AttackResult,
  { successes, preSuccesses, cases }: NonNullable<AttackResult["universal"]>,
  label: string,
): Verdict {
  return {
    kind: successes === cases ? "found" : "not-found",
    short: `${label}: ${successes} of ${cases} prompts`,
    headline: `${successes} of ${cases} prompts drew <strong>${escape(label)}</strong> with the same tokens`,
    paragraphs: [
      `Without them ${preSuccesses} did. After ${iterations} gradient iterations the best tokens are in ` +
        `${visible(adversarialPrompt)}; all prompts that were judged are listed below.`,
    ],
  };
}

/** What the attackers' iterations are called where they are neither a gradient's nor tries. */
const UNITS: Partial<Record<AttackerName, string>> = { "ring-a-bell": "generations", "mma-text": "exchanges" };

/** What a search came to that had to be made. */
function searchVerdict(attacker: AttackerName, label: string, asked: string, result: AttackResult, attempts: readonly string[]): Verdict {
  const concept = `<strong>${escape(label)}</strong>`;
  const unit = usesGradient(attacker) ? "gradient iterations" : (UNITS[attacker] ?? "tries");
  const work = `${result.iterations} ${unit}`;
  if (!result.success) {
    return {
      kind: "not-found",
      short: `${label} was not brought back`,
      headline: `${concept} was not brought back`,
      paragraphs: [
        asked,
        `The search took ${work} and found no prompt for which the judge calls the picture ${concept}. That is a statement about this ` +
          "search and its budget, not a proof of forgetting.",
        ...attempts,
      ],
    };
  }
  const learned = attacker === "cce" ? ", whose learned word is in learned_embeds.safetensors (nobody could type it)" : "";
  const how =
    attacker === "seed-search"
      ? `with another seed (${result.seed})`
      : `with the prompt ${visible(result.adversarialPrompt)}${learned}`;
  const portability = result.notPortable === undefined ? [] : [`The prompt is not portable: ${escape(result.notPortable)}.`];
  const score = result.score.toFixed(3);
  const drew = `${asked} After ${work}, ${how}, it drew a picture that the judge calls ${concept} again (score ${score}).`;
  return notForgotten(label, [drew, ...portability, ...attempts]);
}

/** What a probe of one prompt came to. One prompt gives no verdict: the controls are compared over several. */
function probeVerdict(attacker: string, label: string, asked: string, { successes, tries, comparisons, missing }: ProbeResult): Verdict {
  const concept = `<strong>${escape(label)}</strong>`;
  const made = `Of ${tries} ${tries === 1 ? "try" : "tries"} of ${escape(attacker)}, the judge calls ${successes} ${concept}.`;
  const compared = comparisons.map(({ control, measure, probe, other }) => {
    const value = (x: number): string => (measure === "psnr" || measure === "likelihood" ? x.toFixed(2) : String(x));
    return `${escape(control)}: ${escape(measure)} ${value(other)} against ${value(probe)}`;
  });
  const controls = [
    ...(compared.length > 0 ? [`Controls, against the probe: ${compared.join("; ")}.`] : []),
    ...(missing.length > 0 ? [`Without ${escape(missing.join(" and "))} there is no verdict.`] : []),
    "One prompt gives no verdict. <code>lethe evaluate</code> compares probe and controls over several prompts.",
    ...(successes > 0 ? [] : ["The failure of a probe never shows forgetting."]),
  ];
  const [kind, short, outcome] =
    successes > 0
      ? (["found", "found by a probe", "found by a probe, not by the prompt"] as const)
      : (["not-found", "not found by the probe", "not found with this budget"] as const);
  return { kind, short: `${label}: ${short}`, headline: `${concept} was ${outcome}`, paragraphs: [asked, made, ...controls] };
}
