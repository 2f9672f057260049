/**
 * Image classifiers against transformers in float64 (test/fixtures/judges/make.py): tiny networks of random weights in the published
 * layouts.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { loadClassifier } from "../../engine/vision/image-classifier.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { finish, testDevice } from "../support/device.ts";
import { floats, readFixture, relativeL2 } from "../support/fixtures.ts";
import { goldenImage, goldenNumbers, judgeFolder } from "./judge-fixtures.ts";

const golden = readFixture("judges/golden.safetensors");

for (const name of ["resnet", "vit"]) {
  test(`${name}: logits of prepared pictures, and probabilities of one through its own preprocessing`, async () => {
    const classifier = await loadClassifier(await testDevice(), { files: nodeFiles, folder: judgeFolder(name) });
    const input = new Float32Array(floats(golden, `${name}.input`));
    const { logits } = await classifier.run({ data: input, shape: golden.get(`${name}.input`)!.shape });
    const error = relativeL2(logits, goldenNumbers(golden, `${name}.logits`));
    const { label, score, probabilities } = await classifier.classify(goldenImage(golden, `${name}.image`));
    const whole = relativeL2(probabilities, goldenNumbers(golden, `${name}.probabilities`));
    console.log(`${name}: logits ${error.toExponential(1)}, probabilities after preprocessing ${whole.toExponential(1)}`);
    assert.ok(error < 1e-4, `logits are off by ${error}`);
    assert.ok(whole < 1e-4, `probabilities are off by ${whole}`);
    assert.is(label, "church, church building");
    assert.is(score, Math.max(...probabilities));
    assert.is(classifier.labelIndex("Church"), 1);
    await classifier.destroy();
  });
}

test("half-precision weights stay near", async () => {
  const classifier = await loadClassifier(await testDevice(), { files: nodeFiles, folder: judgeFolder("vit") }, { weights: "f16" });
  const { probabilities } = await classifier.classify(goldenImage(golden, "vit.image"));
  assert.ok(relativeL2(probabilities, goldenNumbers(golden, "vit.probabilities")) < 5e-3);
  await classifier.destroy();
});

test("what cannot be used is refused by name", async () => {
  const device = await testDevice();
  const refused = async (config: object, pattern: RegExp): Promise<void> => {
    const files = memoryFiles({
      "m/config.json": JSON.stringify(config),
      "m/model.safetensors": new Uint8Array(await (await nodeFiles.open(`${judgeFolder("vit")}/model.safetensors`)).read(0, 47140)),
    });
    try {
      const classifier = await loadClassifier(device, { files, folder: "m" });
      await classifier.run({ data: new Float32Array(3 * 24 * 24), shape: [1, 3, 24, 24] });
    } catch (error) {
      assert.match((error as Error).message, pattern);
      return;
    }
    assert.unreachable("it was taken");
  };
  const id2label = { 0: "a", 1: "b", 2: "c", 3: "d", 4: "e" };
  const vit = {
    model_type: "vit",
    hidden_size: 20,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 36,
    image_size: 24,
    patch_size: 8,
    id2label,
  };
  await refused({ ...vit, model_type: "beit" }, /"model_type" must be one of resnet, vit, got "beit"/);
  await refused({ ...vit, hidden_act: "swish" }, /"hidden_act" must be one of gelu/);
  await refused({ ...vit, num_hidden_layers: 3 }, /no tensor "vit.encoder.layer.2.layernorm_before.weight"/);
  await refused({ ...vit, patch_size: 7 }, /does not divide into patches of 7|has shape/);
  await refused({ ...vit, image_size: 32 }, /image must be \[batch, 32, 32, 3\]/);
  await refused({ ...vit, id2label: { 0: "a" } }, /"classifier.weight" has shape \[5,20\]/);
  const classifier = await loadClassifier(device, { files: nodeFiles, folder: judgeFolder("vit") });
  assert.throws(
    () => classifier.labelIndex("zebra"),
    (e: unknown) => e instanceof InputError && /no label "zebra" among its 5/.test(e.message),
  );
  await classifier.destroy();
});

finish();
