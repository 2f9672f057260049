/**
 * Entry point of the `lethe` command. Exit status: 0 done, 1 failed, 2 wrong usage or bad input, 3 no usable adapter, 4 a --fail-if gate
 * is hit, 130 interrupted.
 */
import { outliveReader, exitWhenFlushed } from "../engine/platform/exit.ts";
import { describeError, exitCodeOf } from "./errors.ts";
import { colours, widthOf, wrapped } from "./terminal/style.ts";
import { createProgram } from "./program.ts";

outliveReader();
let code: number;
try {
  await createProgram().parseAsync();
  code = Number(process.exitCode ?? 0);
} catch (error) {
  code = exitCodeOf(error);
  const text = describeError(error);
  const paint = colours(process.stderr);
  const shown = wrapped(text, widthOf(process.stderr)).replace(/^error:/, paint.red("error:"));
  if (text !== "") process.stderr.write(`${shown}\n`);
}
await exitWhenFlushed(code);
