/** A whole quality run on the bundled model, with its classifier's features: drawn as the pipeline draws, resumed, in parts. */
import { readFileSync, readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FormatError } from "../../engine/formats/errors.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { memoryStore } from "../../engine/formats/store.ts";
import { classifierFeatures } from "../../engine/metrics/feature-network.ts";
import type { FeatureNetwork } from "../../engine/metrics/feature-network.ts";
import { parseCaptions } from "../../engine/metrics/quality/captions.ts";
import { readFeatureLog } from "../../engine/metrics/quality/feature-log.ts";
import { type PictureFile, QUALITY_FILES, type QualityOptions, type QualityTimes } from "../../engine/metrics/quality/kinds.ts";
import { quality } from "../../engine/metrics/quality/run.ts";
import { scored } from "../../engine/metrics/quality/scored.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { loadClassifier } from "../../engine/vision/image-classifier.ts";
import { finish, testDevice } from "../support/device.ts";
import { EMOJI, emojiModel } from "../support/emoji.ts";

const CAPTIONS = parseCaptions(
  "captions.csv",
  "case_number,source,prompt,evaluation_seed\n000007,x,a church,3\n11,x,a dog,4\n12,x,a cat,5\n",
);
const FOLDER = `${EMOJI}/dataset/church/imgs`;
const REAL: readonly PictureFile[] = readdirSync(FOLDER)
  .slice(0, 4)
  .map((name) => ({ name, read: async () => decodePng(name, readFileSync(`${FOLDER}/${name}`)) }));

let opened: Promise<FeatureNetwork> | undefined;
const network = (): Promise<FeatureNetwork> =>
  (opened ??= testDevice()
    .then((device) => loadClassifier(device, { files: nodeFiles, folder: `${EMOJI}/classifier/object` }))
    .then((classifier) => classifierFeatures(classifier, "object")));

async function options(more: Partial<QualityOptions> = {}): Promise<QualityOptions> {
  return { captions: CAPTIONS, real: REAL, network: await network(), steps: 2, scheduler: "ddim", kidSubsets: 2, bootstrap: 0, ...more };
}

test("captions: names by the case number, and what is wrong is told by its row", () => {
  assert.equal(CAPTIONS.map((c) => c.file), ["7_0.png", "11_0.png", "12_0.png"]);
  const refused = (text: string, why: RegExp): void =>
    assert.throws(() => parseCaptions("c.csv", text), (e: unknown) => e instanceof FormatError && why.test(e.message));
  refused("case_number,prompt\n1,x\n", /no column "evaluation_seed"/);
  refused("case_number,prompt,evaluation_seed\n1,x,2\n2,y,\n", /row 2: evaluation_seed is ""; a whole number/);
  refused("case_number,prompt,evaluation_seed\n01,x,2\n1,y,3\n", /row 2: case_number 1 is that of row 1 already/);
});

test("pictures are the pipeline's own, in batches too, and the features are counted", async () => {
  const model = await emojiModel();
  const store = memoryStore();
  const result = await quality(model, await options({ store, batch: 2 }));
  assert.equal([result.count, result.realCount, result.unreadable, result.clipScore], [3, 4, 0, null]);
  assert.ok(result.distances!.frechet > 0 && result.distances!.kid);
  assert.ok(await store.read(QUALITY_FILES.statistics));
  for (const { file, prompt, seed } of CAPTIONS) {
    const [own] = await generate(model, { prompt, seed, steps: 2, scheduler: "ddim" });
    const drawn = await decodePng(file, (await store.read(QUALITY_FILES.picture(file)))!);
    const most = drawn.data.reduce((m, x, i) => Math.max(m, Math.abs(x - own!.image.data[i]!)), 0);
    assert.ok(most <= 1, `${file} is ${most} levels off`);
  }
});

test("a run that was stopped goes on, and parts put together are the same to the last bit", async () => {
  const model = await emojiModel();
  const whole = await quality(model, await options());
  const store = memoryStore();
  const controller = new AbortController();
  const stopped = quality(model, await options({ store, dropPictures: true, signal: controller.signal }), (event) => {
    if (event.type === "picture" && event.done === 2) controller.abort();
  });
  await stopped.then(() => assert.unreachable("it was not stopped"), (error: unknown) => assert.is((error as Error).name, "AbortError"));
  let drawn = 0;
  const resumed = await quality(model, await options({ store, dropPictures: true }), (event) => {
    if (event.type === "picture" && event.set === "generated") drawn++;
  });
  assert.is(drawn, 1);
  assert.is(resumed.distances!.frechet, whole.distances!.frechet);
  const worked = (times: QualityTimes): unknown[] => [times.draw?.pictures, times.read?.pictures, times.network?.pictures];
  assert.equal([worked(whole.times), worked(resumed.times)], [[3, 4, 7], [1, 4, 5]], "what was done before is not counted again");
  const { dims } = await network();
  const taken = { generated: new Map(), real: new Map() };
  for (const index of [1, 2]) {
    const part = memoryStore();
    const result = await quality(model, await options({ store: part, shard: { index, count: 2 } }));
    assert.is(result.distances, null);
    for (const set of ["generated", "real"] as const) {
      for (const [name, picture] of await readFeatureLog(part, QUALITY_FILES.logs[set], dims)) taken[set].set(name, picture);
    }
  }
  assert.equal([taken.generated.size, taken.real.size], [3, 4]);
  const merged = await scored(await options(), taken);
  assert.is(merged.distances!.frechet, whole.distances!.frechet);
  assert.is(merged.distances!.kid!.mean, whole.distances!.kid!.mean);
});

test("a picture that cannot be read stops the run by its name, or is passed over and counted", async () => {
  const bad: PictureFile = { name: "bad.png", read: () => decodePng("imgs/bad.png", new Uint8Array(20)) };
  const given = await options({ captions: undefined, images: [...REAL, bad] });
  await quality(null, given).then(
    () => assert.unreachable("it was read"),
    (error: unknown) => assert.match((error as Error).message, /imgs\/bad.png/),
  );
  const result = await quality(null, { ...given, skipUnreadable: true });
  assert.equal([result.count, result.unreadable], [4, 1]);
  assert.ok(result.distances!.frechet < 1e-6, "the same pictures");
});

test("captions without pictures, and options that do not go together, are refused", async () => {
  const refused = async (given: QualityOptions, why: RegExp): Promise<void> => {
    await quality(null, given).then(() => assert.unreachable(String(why)), (error: unknown) => assert.match((error as Error).message, why));
  };
  const renamed = REAL.map((file) => ({ ...file, name: `x-${file.name}` }));
  await refused(await options({ images: renamed }), /3 of 3 captions have no picture, the first 7_0.png/);
  const alone = await quality(null, await options({ images: REAL, captions: undefined, real: undefined }));
  assert.equal([alone.count, alone.distances], [4, null], "features alone are counted, with nothing to compare them with");
  await refused({ images: REAL }, /nothing to score with/);
  await refused(await options(), /either a model draws the pictures or they are given/);
});

finish();
