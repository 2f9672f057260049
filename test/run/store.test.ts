// A run leaves the same files in a folder as in the page's store, and goes on from either.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Store } from "../../engine/formats/store.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { executeRun } from "../../engine/run/execute.ts";
import { RUN_FILES, RunFiles } from "../../engine/run/files.ts";
import type { PreparedRun } from "../../engine/run/prepared.ts";
import { resolveAttack } from "../../engine/attack/resolve.ts";
import { newRecord } from "../../engine/run/record.ts";
import { newSettings } from "../../engine/run/settings/settings.ts";
import { needsOf } from "../../engine/run/settings/needs.ts";
import { fitTarget } from "../../engine/run/target.ts";
import { RunWriter } from "../../engine/run/writer.ts";
import { memoryStore } from "../../web/worker/files/store.ts";
import { runStore } from "../../web/worker/files/run-store.ts";
import { finish, testDevice } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";

const folder = mkdtempSync(join(tmpdir(), "lethe-store-"));
const SETTINGS = newSettings({
  model: "emoji",
  prompt: "a church",
  judge: "emoji-object",
  label: "church",
  attacker: "random",
  tokens: 2,
  maxTimesteps: 3,
  steps: 2,
  seed: 5,
});

async function prepared(store: Store): Promise<PreparedRun> {
  const device = await testDevice();
  const judge = {
    judge: async () => ({ success: false, label: "fish", score: 0.25, scores: { fish: 0.75, church: 0.25 } }),
    rule: "never",
    destroy: async () => undefined,
  };
  const record = newRecord(
    { settings: SETTINGS, rule: judge.rule, targetFitted: "" },
    { device, limits: "adapter", weights: "f32", math: "f32", platform: "p", flags: [] },
    [],
  );
  const model = await emojiModel();
  const { values, given } = needsOf(SETTINGS);
  const options = resolveAttack(model, values, { ...given, judge: judge.judge });
  return { model, judge, options, files: new RunFiles(store), record, extras: { showImages: true } };
}

const textOf = async (store: Store, name: string): Promise<string> => new TextDecoder().decode(await store.read(name));
const timeless = (text: string): string =>
  text.replace(/"(ms|seconds|peakBytes)":\s*[\d.e-]+/g, '"$1":0').replace(/"(started|ended)":\s*"[^"]*"/g, '"$1":""');

test("a folder and the page's store hold the same run", async () => {
  const stores = [folderStore(join(folder, "run")), runStore(memoryStore())] as const;
  for (const store of stores) {
    const { status, result } = await executeRun(await prepared(store));
    assert.is(status, "finished");
    assert.is(result!.iterations, 3);
  }
  const [disk, page] = stores;
  for (const name of [RUN_FILES.record, RUN_FILES.log]) {
    assert.is(timeless(await textOf(page, name)), timeless(await textOf(disk, name)), name);
  }
  const images = (await textOf(disk, RUN_FILES.log))
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { image: string }).image);
  assert.is(images.length, 4);
  for (const image of images) assert.equal(await page.read(image), new Uint8Array(readFileSync(join(folder, "run", image))), image);
  assert.match(await textOf(page, RUN_FILES.report), /<strong>church<\/strong> was not brought back/);
  for (const store of stores) {
    assert.is(await store.read(RUN_FILES.state), undefined, "a finished run needs no state");
    assert.ok(await new RunFiles(store).holdsRun());
    assert.is(await new RunFiles(store).renderReport(), await textOf(store, RUN_FILES.report), "the same report, from the files alone");
  }
});

test("a report rendered again from the folder is the one that the run wrote, loss curve and pictures included", async () => {
  const store = folderStore(join(folder, "again"));
  const run = await prepared(store);
  const image = { width: 64, height: 64, data: Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => i % 251) };
  const judgement = { success: true, label: "church", score: 0.5, scores: { church: 0.5 } };
  const target = fitTarget({ file: "t.png", image }, run.model);
  const extras = { showImages: true, originalModel: { name: "m", image, judgement } };
  const writer = await RunWriter.open({ ...run, target, extras }, {});
  await writer.handle({ type: "losses", timestep: 17, iteration: 1, losses: [0.125, 1 / 3, Number.NaN] });
  await writer.handle({ type: "losses", timestep: 3, iteration: 4, losses: [0.0625] });
  await writer.finish("interrupted", null, undefined);
  run.files.close();
  const first = await textOf(store, RUN_FILES.report);
  assert.match(first, /Loss over 4 iterations, from 0\.1250 to 0\.0625/);
  assert.is(await new RunFiles(folderStore(join(folder, "again"))).renderReport(), first);
});

test("a run that was cut off goes on to the same log, and a torn line is cut off", async () => {
  for (const store of [folderStore(join(folder, "cut")), runStore(memoryStore())]) {
    const stop = new AbortController();
    let evaluations = 0;
    const cut = await executeRun(await prepared(store), {
      signal: stop.signal,
      onEvent: (event) => void (event.type === "state" && ++evaluations === 3 && stop.abort()),
    }).catch((error: Error) => error);
    assert.is((cut as Error).name, "AbortError");
    const files = new RunFiles(store);
    assert.is((await files.earlier())!.status, "interrupted");
    const before = await textOf(store, RUN_FILES.log);
    await store.write(RUN_FILES.log, `${before}{"torn`);
    const saved = (await files.saved())!;
    assert.ok(saved.state.evaluations.length < 4);
    let seen = 0;
    await executeRun({ ...(await prepared(store)), saved }, { onResume: ({ evaluations: done }) => void (seen = done.length) });
    assert.is(seen, saved.state.evaluations.length);
    assert.is(timeless(await textOf(store, RUN_FILES.log)), timeless(await textOf(folderStore(join(folder, "run")), RUN_FILES.log)));
  }
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
finish();
