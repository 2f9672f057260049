import { InvalidArgumentError } from "commander";
import { join } from "node:path";
import { writeFileAtomic } from "../../../engine/platform/node-files.ts";
import { GATE_METRICS, type Gate, gateLine, judgeGates, parseGate } from "../../../engine/run/gate/gate.ts";
import { junitXml } from "../../../engine/run/gate/junit.ts";
import { errorMessage } from "../../../engine/runtime/errors.ts";
import type { Context } from "../../context.ts";
import { EXIT } from "../../errors.ts";
import { type WrittenBoard, jsonBoard, terminalTables } from "./write-tables.ts";

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
 * Ends a command whose evaluation's tables are written: judges it, says each condition's outcome, writes the JUnit file and hands out
 * the tables, in --json after `facts`.
 * @returns the exit code
 * @throws UsageError for a condition that no row can answer
 */
export async function conclude(
  context: Context,
  title: string,
  board: WrittenBoard,
  { failIf = [], junit, showPrompts = false }: GateFlags,
  facts: { readonly out: string } & Readonly<Record<string, unknown>>,
): Promise<number> {
  const { rows, effects } = board;
  context.report(join(facts.out, "report.html"));
  const results = judgeGates(failIf, rows, effects);
  for (const result of results) context.say(gateLine(result));
  if (junit !== undefined) {
    await writeFileAtomic(junit, junitXml(title, rows, results, showPrompts));
    context.say(`JUnit: ${junit}`);
  }
  context.result({ ...facts, ...jsonBoard(board), ...(failIf.length > 0 && { gates: results }) }, terminalTables(board));
  return results.some((r) => r.hit) ? EXIT.gate : EXIT.done;
}
