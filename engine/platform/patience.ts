/** The longest pause between two looks at the device, in milliseconds. */
const LONGEST_PAUSE_MS = 4;
/** A pause is this share of the time waited so far, so that short waits end at once and long ones at most that much late. */
const PAUSE_SHARE = 1 / 32;

const sleeper = new Int32Array(new SharedArrayBuffer(4));
let waiting = 0;
/** Of those, how many somebody is waiting for right now, and when that began. */
let urgent = 0;
let since = 0;
let pausing = false;

/**
 * Waits for a promise of Dawn's without taking a core. While anything is pending, Dawn looks at its device in every turn of Node's event
 * loop and has the loop turn without rest; on a software adapter that core is missing where the work is done: with two cores, products took
 * 1.6 times as long. So the turns are held up a little, longer the longer the wait; timers and input are late by as much.
 * @param hurry false: that it is told some milliseconds late does no harm, so that the pauses are the longest from the first on
 */
export async function patiently<T>(promise: Promise<T>, hurry = true): Promise<T> {
  waiting++;
  if (hurry) {
    urgent++;
    since = performance.now();
  }
  if (!pausing) {
    pausing = true;
    setImmediate(pause);
  }
  try {
    return await promise;
  } finally {
    waiting--;
    if (hurry) {
      urgent--;
      since = performance.now();
    }
  }
}

function pause(): void {
  pausing = waiting > 0;
  if (!pausing) return;
  Atomics.wait(sleeper, 0, 0, urgent > 0 ? Math.min(LONGEST_PAUSE_MS, (performance.now() - since) * PAUSE_SHARE) : LONGEST_PAUSE_MS);
  setImmediate(pause);
}
