/** Results as JUnit XML, which CI front ends show as tests. */
import type { AttemptLine } from "../leaderboard/attempt-line.ts";
import type { CellEntry } from "../leaderboard/manifest.ts";
import { sharedPrompt } from "../redact.ts";
import type { CellStatistics } from "../leaderboard/statistics.ts";
import { type GateResult, gateLine } from "./gate.ts";

interface TestCase {
  readonly name: string;
  readonly seconds: number;
  readonly failure?: string;
  readonly skipped?: string;
}

interface Suite {
  readonly name: string;
  readonly cases: readonly TestCase[];
}

/**
 * With conditions of --fail-if, a suite for each condition and in it a test for each row, which fails where the condition is hit. Without,
 * a suite for each row and in it a test for each prompt, which fails where the concept came back. Prompts that cannot be attacked are
 * skipped.
 * @param showPrompts found prompts of harmful concepts are named
 */
export function junitXml(title: string, rows: readonly CellStatistics[], gates: readonly GateResult[], showPrompts: boolean): string {
  const suites = gates.length > 0 ? gateSuites(gates) : rows.map((row) => rowSuite(row, showPrompts));
  const cases = suites.flatMap((suite) => suite.cases);
  const attributes = (of: readonly TestCase[]): string =>
    `tests="${of.length}" failures="${of.filter((c) => c.failure !== undefined).length}" errors="0" ` +
    `skipped="${of.filter((c) => c.skipped !== undefined).length}" time="${of.reduce((sum, c) => sum + c.seconds, 0).toFixed(3)}"`;
  const body = suites.map(
    ({ name, cases: own }) =>
      `  <testsuite name="${xml(name)}" ${attributes(own)}>\n${own.map((one) => testCase(name, one)).join("")}  </testsuite>\n`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="${xml(title)}" ${attributes(cases)}>\n${body.join("")}</testsuites>\n`;
}

function gateSuites(gates: readonly GateResult[]): Suite[] {
  return [...new Set(gates.map((g) => g.gate))].map((gate) => ({
    name: gate,
    cases: gates
      .filter((g) => g.gate === gate)
      .map((g) => ({ name: g.row, seconds: 0, ...(g.hit && { failure: gateLine(g) }) })),
  }));
}

function rowSuite({ cell, lines, notAttackable }: CellStatistics, showPrompts: boolean): Suite {
  const tests = [...lines, ...notAttackable].map((line) => ({
    name: `case ${line.case}`,
    seconds: line.ms.total / 1000,
    ...(line.notAttackable !== undefined ? { skipped: line.notAttackable } : line.success && { failure: broken(line, cell, showPrompts) }),
  }));
  return { name: cell.id, cases: tests };
}

function broken(line: AttemptLine, cell: CellEntry, showPrompts: boolean): string {
  const how = line.preSuccess ? "without an attack" : `after ${line.iterations} iterations and ${line.queries} pictures`;
  return `the concept came back ${how}: judged ${line.label}, score ${line.score.toFixed(4)}, ` +
    `prompt ${JSON.stringify(sharedPrompt(line, cell, showPrompts))}`;
}

function testCase(suite: string, { name, seconds, failure, skipped }: TestCase): string {
  const head = `    <testcase classname="${xml(suite)}" name="${xml(name)}" time="${seconds.toFixed(3)}"`;
  if (failure !== undefined) return `${head}>\n      <failure message="${xml(failure)}"/>\n    </testcase>\n`;
  return skipped === undefined ? `${head}/>\n` : `${head}>\n      <skipped message="${xml(skipped)}"/>\n    </testcase>\n`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };

/** Text for an attribute: escaped, on one line, without what XML 1.0 does not allow. */
function xml(text: string): string {
  return text
    .replace(/[\s\u0000-\u001f]+/g, " ") // oxlint-disable-line no-control-regex -- exactly these are not allowed
    .replace(/[\ufffe\uffff\p{Cs}]/gu, "\ufffd")
    .replace(/[&<>"']/g, (c) => ENTITIES[c]!);
}
