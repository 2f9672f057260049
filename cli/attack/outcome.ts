import type { AttackJson } from "../../engine/run/json.ts";
import { formatBytes, formatDuration, quoted } from "../../engine/run/text/format.ts";
import type { Context } from "../context.ts";

/** The outcome of an attack: JSON or a line on stdout, the rest on stderr. @param report its file */
export function showOutcome(context: Context, json: AttackJson, report: string): void {
  context.say(
    `${json.iterations} iterations in ${formatDuration(json.seconds)} on ${json.adapter}; ` +
      `peak device memory ${formatBytes(json.peakBytes)}`,
  );
  context.report(report);
  const found = json.preSuccess ? "the original prompt draws the concept already" : json.success ? "found" : "not found";
  if (json.notPortable !== undefined) {
    context.say(`the prompt is not portable: ${json.notPortable}; --vocabulary typeable searches for one that is`);
  }
  context.result(json, `${found}: ${quoted(json.adversarialPrompt)}, judged ${json.label}, score ${json.score.toFixed(4)}`);
}
