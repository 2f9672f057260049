import { test } from "uvu";
import * as assert from "uvu/assert";
import { patiently } from "../../engine/platform/patience.ts";

const after = (ms: number): Promise<string> => new Promise((done) => setTimeout(() => done(`after ${ms}`), ms));

/** CPU time per wall-clock time of a wait during which, as with Dawn, something runs in every turn of the event loop. */
async function load(wait: Promise<unknown>): Promise<{ load: number; turns: number }> {
  let turns = 0;
  let over = false;
  const turn = (): void => {
    turns++;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const [started, before] = [performance.now(), process.cpuUsage()];
  await wait;
  const { user, system } = process.cpuUsage(before);
  over = true;
  return { load: (user + system) / 1000 / (performance.now() - started), turns };
}

test("a wait takes little of a core, and goes on looking", async () => {
  const plain = await load(after(400));
  const patient = await load(patiently(after(400)));
  assert.ok(patient.load < 0.5 * plain.load, `load ${patient.load}, ${plain.load} without patience`);
  assert.ok(patient.turns < plain.turns / 4 && patient.turns > 50, `${patient.turns} turns, ${plain.turns} without patience`);
});

test("what is waited for comes through, a value or an error, and waits may overlap", async () => {
  const values = Promise.all([patiently(after(30)), patiently(after(10)), after(20), patiently(Promise.resolve(7))]);
  assert.equal(await values, ["after 30", "after 10", "after 20", 7]);
  const error = new Error("lost");
  assert.is(await patiently(Promise.reject(error)).catch((e: unknown) => e), error);
  assert.is(await patiently(after(5)), "after 5"); // begins again after none was left
});

test("a long wait ends soon after what it waits for", async () => {
  const started = performance.now();
  let done = 0;
  await patiently(after(300).then(() => (done = performance.now())));
  assert.ok(done - started >= 299);
  assert.ok(performance.now() - done < 200, `${performance.now() - done} ms late`);
});

test.run();
