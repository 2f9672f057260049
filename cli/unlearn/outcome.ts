import { formatBytes, formatDuration, quoted } from "../../engine/run/text/format.ts";
import type { UnlearnRecord } from "../../engine/run/unlearn/record.ts";
import type { Context } from "../context.ts";

/** What `unlearn --json` prints. */
export interface UnlearnJson {
  readonly method: string;
  readonly recipe: string;
  readonly concepts: readonly string[];
  readonly steps: number;
  readonly loss: number | null;
  readonly seconds: number;
  readonly adapter: string;
  readonly peakBytes: number;
  readonly out: string;
  readonly sha256: string;
}

/** Of a finished run. */
function unlearnJson({ settings, recipe, result, seconds, device, peakBytes }: UnlearnRecord, out: string): UnlearnJson {
  const { steps, loss, sha256 } = result!;
  return {
    method: settings.method, recipe: recipe.name, concepts: settings.concepts, steps, loss, seconds, adapter: device.adapter, peakBytes,
    out,
    sha256,
  };
}

/** The outcome of a finished run: JSON or a few lines on stdout, the rest on stderr. @param report its file */
export function showUnlearned(context: Context, record: UnlearnRecord, out: string, report: string): void {
  const json = unlearnJson(record, out);
  const { steps, seconds, loss, adapter, peakBytes, sha256 } = json;
  context.say(`${steps} steps in ${formatDuration(seconds)} on ${adapter}; peak device memory ${formatBytes(peakBytes)}`);
  context.report(report);
  const last = loss === null ? "" : `, last loss ${loss.toFixed(4)}`;
  context.result(json, `${out}: ${json.concepts.map(quoted).join(", ")} erased by ${json.recipe}${last}\nSHA-256 ${sha256}`);
}
