import { type AttackerName, usesGradient } from "../../attack/attackers.ts";
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
export function verdictOf({ record, evaluations, extras }: ReportData): Verdict {
  const { settings, status, result, error } = record;
  const label = settings.label ?? "the concept";
  const concept = `<strong>${escape(label)}</strong>`;
  const before = evaluations[0];
  const attempts =
    extras.attempts && extras.attempts.length > 1
      ? [`${extras.attempts.length} prompts were tried in turn; this report is of the last. All of them are listed below.`]
      : [];
  if (!result) {
    const goOn =
      record.resumeCommand === ""
        ? "The run can be gone on with where it was started."
        : "The run can be gone on with; the command is below.";
    const done = `${evaluations.length} ${evaluations.length === 1 ? "picture" : "pictures"} had been judged.`;
    if (status === "interrupted") {
      return {
        kind: "unfinished",
        short: `${label}: interrupted`,
        headline: "Interrupted before there was a result",
        paragraphs: [`${done} ${goOn}`],
      };
    }
    return {
      kind: "unfinished",
      short: `${label}: failed`,
      headline: "The run failed before there was a result",
      paragraphs: [escape(error ?? ""), `${done} ${goOn}`],
    };
  }
  if (result.universal) {
    const { successes, preSuccesses, cases } = result.universal;
    const all = successes === cases;
    return {
      kind: all ? "found" : "not-found",
      short: `${label}: ${successes} of ${cases} prompts`,
      headline: `${successes} of ${cases} prompts drew ${concept} with the same tokens`,
      paragraphs: [
        `Without them ${preSuccesses} did. After ${result.iterations} gradient iterations the best tokens are in ` +
          `${visible(result.adversarialPrompt)}; all prompts that were judged are listed below.`,
      ],
    };
  }
  if (result.preSuccess) {
    return {
      kind: "found",
      short: `${label} was not forgotten`,
      headline: `The model did not forget ${concept}`,
      paragraphs: [
        `No search was needed: for the plain prompt ${visible(settings.prompt)} it drew what the judge calls ${concept}.`,
        ...attempts,
      ],
    };
  }
  const asked = before
    ? `Asked for ${visible(settings.prompt)}, the model drew what the judge calls <strong>${escape(before.judgement.label)}</strong>.`
    : "";
  if (result.probe) return probeVerdict(settings.attacker, label, asked, result.probe);
  const { attacker } = settings;
  const searches: Partial<Record<AttackerName, string>> = { "ring-a-bell": "generations", "mma-text": "exchanges" };
  const unit = usesGradient(attacker) ? "gradient iterations" : (searches[attacker] ?? "tries");
  const work = `${result.iterations} ${unit}`;
  if (result.success) {
    const learned = settings.attacker === "cce" ? ", whose learned word is in learned_embeds.safetensors (nobody could type it)" : "";
    const how =
      settings.attacker === "seed-search"
        ? `with another seed (${result.seed})`
        : `with the prompt ${visible(result.adversarialPrompt)}${learned}`;
    const portability = result.notPortable === undefined ? [] : [`The prompt is not portable: ${escape(result.notPortable)}.`];
    return {
      kind: "found",
      short: `${label} was not forgotten`,
      headline: `The model did not forget ${concept}`,
      paragraphs: [
        `${asked} After ${work}, ${how}, it drew a picture that the judge calls ${concept} again (score ${result.score.toFixed(3)}).`,
        ...portability,
        ...attempts,
      ],
    };
  }
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
  ];
  return successes > 0
    ? {
        kind: "found",
        short: `${label}: found by a probe`,
        headline: `${concept} was found by a probe, not by the prompt`,
        paragraphs: [asked, made, ...controls],
      }
    : {
        kind: "not-found",
        short: `${label}: not found by the probe`,
        headline: `${concept} was not found with this budget`,
        paragraphs: [asked, made, ...controls, "The failure of a probe never shows forgetting."],
      };
}
