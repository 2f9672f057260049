import { InvalidArgumentError } from "commander";

/** Parser of a whole number within bounds, for commander. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(
        `Expected a whole number ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}.`,
      );
    }
    return value;
  };
}

/** Parser of a finite number within bounds, for commander. */
export function finiteNumber(min: number, max = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value) || value < min || value > max) {
      throw new InvalidArgumentError(`Expected a number ${max === Number.MAX_VALUE ? `of at least ${min}` : `from ${min} to ${max}`}.`);
    }
    return value;
  };
}

/** Parser that refuses empty text. */
export function someText(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("It is empty.");
  return text;
}

/** Seeds are those of torch's CPU generator; a JavaScript number holds them exactly up to 2^53. */
export const seedNumber = wholeNumber(-(2 ** 31), Number.MAX_SAFE_INTEGER);

/** Parser of two whole numbers with a sign between them, "1024x768" or "0,0". */
export function pairOf(sign: string, min: number): (text: string) => [number, number] {
  return (text) => {
    const parts = text.split(sign).map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
    if (parts.length !== 2 || !parts.every((x) => Number.isSafeInteger(x) && x >= min)) {
      throw new InvalidArgumentError(`Expected two whole numbers of at least ${min} as in 8${sign}8.`);
    }
    return parts as [number, number];
  };
}
