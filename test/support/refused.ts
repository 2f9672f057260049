import * as assert from "uvu/assert";
import { ShapeError } from "../../kernels/kernel.ts";

/** Asserts that recording an op throws a ShapeError whose message fits `pattern`. */
export function refused(record: () => unknown, pattern: RegExp): void {
  assert.throws(record, (error: unknown) => error instanceof ShapeError && pattern.test(error.message));
}
