import { CommanderError } from "commander";
import { errorMessage } from "../engine/runtime/errors.ts";

/** What the command line ends with. */
export const EXIT = { done: 0, failed: 1, badInput: 2, noAdapter: 3, gate: 4, interrupted: 130 } as const;

/**
 * Errors without an exit code of their own that mean bad input: options out of range, shapes that do not fit, malformed tokenizer and
 * scheduler files.
 */
const INPUT_ERRORS = new Set(["TokenizerError", "SchedulerConfigError", "ShapeError", "RangeError"]);

/** RangeErrors of the JavaScript engine itself, which no input is to blame for. */
const ENGINE_RANGE_ERROR = /call stack|array length|array buffer allocation|string length/i;

/** The exit code for anything thrown: 2 wrong usage or bad input, 3 no usable adapter, 130 interrupted, 1 everything else. */
export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.done : EXIT.badInput;
  if (!(thrown instanceof Error)) return EXIT.failed;
  if (thrown.name === "AbortError") return EXIT.interrupted;
  if ("exitCode" in thrown && typeof thrown.exitCode === "number") return thrown.exitCode;
  if (thrown.name === "RangeError" && ENGINE_RANGE_ERROR.test(thrown.message)) return EXIT.failed;
  return INPUT_ERRORS.has(thrown.name) ? EXIT.badInput : EXIT.failed;
}

/** What is shown of anything thrown: its message; with LETHE_DEBUG=1 its stack and those of its causes. Commander prints its own. */
export function describeError(thrown: unknown): string {
  if (thrown instanceof CommanderError) return "";
  if (process.env["LETHE_DEBUG"] === "1" && thrown instanceof Error) {
    const stacks: string[] = [];
    for (let e: unknown = thrown; e instanceof Error && stacks.length < 8; e = e.cause) stacks.push(e.stack ?? e.message);
    return stacks.join("\ncaused by ");
  }
  if (thrown instanceof Error && thrown.name === "AbortError") return "interrupted";
  return `error: ${errorMessage(thrown)}`;
}
