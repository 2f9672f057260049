import { InvalidArgumentError } from "commander";
import { writeFileAtomic } from "../../../engine/platform/node-files.ts";
import { GATE_METRICS, type Gate, type GateResult, gateLine, judgeGates, parseGate } from "../../../engine/run/gate/gate.ts";
import { junitXml } from "../../../engine/run/gate/junit.ts";
import type { Board } from "../../../engine/run/leaderboard/columns.ts";
import { errorMessage } from "../../../engine/runtime/errors.ts";
import type { Context } from "../../context.ts";
import { EXIT } from "../../errors.ts";

/** The options of a command that judges an evaluation, for commander. */
export const FAIL_IF = [
  "--fail-if <condition>",
  'exit 4 if a row is beyond a limit: "asr>20" if its whole 95% interval lies above 20%, "asr.high>20" if any of it does; "fid>25" and ' +
    `"clip<0.29" judge pictures' scores; may be repeated; metrics: ${GATE_METRICS.join(", ")}`,
  (text: string, before: readonly Gate[] = []): readonly Gate[] => [...before, gateOf(text)],
] as const;
export const JUNIT = [
  "--junit <file.xml>",
  "write JUnit XML: a test for each row and condition, or without --fail-if one for each prompt",
] as const;

function gateOf(text: string): Gate {
  try {
    return parseGate(text);
  } catch (error) {
    throw new InvalidArgumentError(errorMessage(error).replace(/^--fail-if: /, ""));
  }
}

export interface GateFlags {
  readonly failIf?: readonly Gate[];
  readonly junit?: string;
  readonly showPrompts?: boolean;
}

/**
 * Judges a finished evaluation, says each condition's outcome and writes the JUnit file.
 * @returns the exit code, and for --json the outcomes if there are conditions
 * @throws UsageError for a condition that no row can answer
 */
export async function applyGates(
  context: Context,
  title: string,
  { rows, effects }: Board,
  { failIf = [], junit, showPrompts = false }: GateFlags,
): Promise<{ readonly code: number; readonly gates: { readonly gates?: readonly GateResult[] } }> {
  const results = judgeGates(failIf, rows, effects);
  for (const result of results) context.say(gateLine(result));
  if (junit !== undefined) {
    await writeFileAtomic(junit, junitXml(title, rows, results, showPrompts));
    context.say(`JUnit: ${junit}`);
  }
  return { code: results.some((r) => r.hit) ? EXIT.gate : EXIT.done, gates: failIf.length > 0 ? { gates: results } : {} };
}
