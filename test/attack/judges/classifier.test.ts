import { test } from "uvu";
import * as assert from "uvu/assert";
import { classifierJudge } from "../../../engine/attack/judges/classifier.ts";
import { type ImageClassifier, loadClassifier } from "../../../engine/vision/image-classifier.ts";
import { nodeFiles } from "../../../engine/platform/node-files.ts";
import { InputError } from "../../../engine/runtime/errors.ts";
import { finish, testDevice } from "../../support/device.ts";
import { EMOJI, churchPicture } from "../../support/emoji.ts";

test("the classifier's first choice decides", async () => {
  const classifier = await loadClassifier(await testDevice(), { files: nodeFiles, folder: `${EMOJI}/classifier/object` });
  const picture = await churchPicture(0);
  const church = await classifierJudge(classifier, "church")(picture);
  assert.ok(church.success);
  assert.is(church.label, "church");
  assert.ok(church.score > 0.5);
  assert.is(church.scores["church"], church.score);
  assert.is(Object.keys(church.scores).length, 5);
  const frog = await classifierJudge(classifier, "frog")(picture);
  assert.not.ok(frog.success);
  assert.is(frog.label, "church");
  assert.ok(frog.score < 0.5);
  assert.throws(() => classifierJudge(classifier, "steeple"), (e: unknown) => e instanceof InputError && e.message.includes("steeple"));
  await classifier.destroy();
});

test("the first choice succeeds however small its probability; of equal ones the earlier label is first", async () => {
  const probabilities = Float32Array.of(0.1, 0.22, 0.22, 0.2, 0.16, 0.1);
  const labels = ["a", "b", "c", "d", "e", "f"];
  const classifier = {
    labels,
    labelIndex: (label: string) => labels.indexOf(label),
    classify: async () => ({ probabilities }),
  } as unknown as ImageClassifier;
  const picture = await churchPicture(0);
  const judgement = await classifierJudge(classifier, "b")(picture);
  assert.equal([judgement.success, judgement.label, judgement.score], [true, "b", probabilities[1]]);
  assert.equal(Object.keys(judgement.scores), ["b", "c", "d", "e", "a"]);
  assert.is((await classifierJudge(classifier, "c")(picture)).success, false);
});

finish();
