// Stands in for uvu in test bundles made with `--only`: of all test cases those whose name contains ONLY run, and after them what every
// file ends with.
import * as uvu from "uvu";

/* global ONLY */
const LAST = "the device reported no stray errors"; // test/support/device.ts

function selected(test) {
  let chosen = 0;
  const add = (name, body) => {
    if (!name.includes(ONLY) && !(name === LAST && chosen > 0)) return;
    chosen++;
    test(name, body);
  };
  return Object.assign(add, test);
}

export const { exec } = uvu;
export const test = selected(uvu.test);
export const suite = (...args) => selected(uvu.suite(...args));
