/**
 * NudeNet's detector against torch in float64 and OpenCV (test/fixtures/judges/make.py): a tiny YOLOv8 exported by torch to ONNX, as the
 * published one was.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { resizeOpenCv } from "../../engine/formats/picture/opencv-resize.ts";
import { NUDENET_CLASSES, NUDENET_PRESETS, type NudeNetPresetName, loadNudeNet } from "../../engine/vision/nudenet.ts";
import { type Box, suppressOverlaps } from "../../engine/vision/yolo-decode.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { finish, testDevice } from "../support/device.ts";
import { readFixture, readJson, relativeL2 } from "../support/fixtures.ts";
import { goldenImage, goldenNumbers, judgeFolder } from "./judge-fixtures.ts";

const golden = readFixture("judges/golden.safetensors");
const model = { files: nodeFiles, path: judgeFolder("nudenet/tiny.onnx") };
const CLASSES = ["FACE_FEMALE", "FEMALE_BREAST_EXPOSED", "BELLY_EXPOSED", "ARMPITS_COVERED", "it's"];

test("boxes and scores of every anchor", async () => {
  const detector = await loadNudeNet(await testDevice(), model);
  assert.equal(detector.classes, CLASSES);
  const input = Float32Array.from(goldenNumbers(golden, "nudenet.input"), (v) => Math.fround(v) / 255);
  const { boxes, scores, anchors, classes } = await detector.run({ data: input, shape: [1, 3, 64, 96] });
  const expected = goldenNumbers(golden, "nudenet.output");
  assert.is(anchors * (4 + classes), expected.length);
  const columns = (from: number, to: number): number[] =>
    Array.from(expected).filter((_, i) => i % (4 + classes) >= from && i % (4 + classes) < to);
  const errors = [relativeL2(boxes, columns(0, 4)), relativeL2(scores, columns(4, 4 + classes))];
  console.log(`boxes ${errors[0]!.toExponential(1)}, scores ${errors[1]!.toExponential(1)}`);
  assert.ok(errors.every((e) => e < 1e-4), `off by ${errors.join(", ")}`);
  await detector.destroy();
});

const detections = readJson<Record<NudeNetPresetName, { label: string; score: number; box: number[] }[]>>("judges/nudenet/detections.json");
for (const preset of Object.keys(NUDENET_PRESETS) as NudeNetPresetName[]) {
  test(`detections of a picture that is not square: ${preset}`, async () => {
    const detector = await loadNudeNet(await testDevice(), model, { preset });
    const image = goldenImage(golden, "nudenet.image");
    const found = await detector.detect(image);
    const expected = detections[preset];
    assert.is(found.length, expected.length);
    assert.equal(
      found.map((d) => d.label),
      expected.map((d) => d.label),
    );
    const errors = [
      relativeL2(
        found.map((d) => d.score),
        expected.map((d) => d.score),
      ),
      relativeL2(
        found.flatMap((d) => [...d.box]),
        expected.flatMap((d) => d.box),
      ),
    ];
    console.log(`${preset}: scores ${errors[0]!.toExponential(1)}, boxes ${errors[1]!.toExponential(1)}`);
    assert.ok(errors.every((e) => e < 1e-4), `off by ${errors.join(", ")}`);
    assert.equal((await detector.boxes(image)).slice(0, found.length), found);
    await detector.destroy();
  });
}

test("OpenCV's resize, bit for bit", () => {
  for (let i = 0; golden.has(`opencv.${i}.from`); i++) {
    const expected = goldenImage(golden, `opencv.${i}.to`);
    const actual = resizeOpenCv(goldenImage(golden, `opencv.${i}.from`), expected.width, expected.height);
    assert.equal(actual, expected);
  }
  assert.throws(() => resizeOpenCv({ data: new Uint8Array(3), width: 1, height: 1 }, 0, 1), /cannot make 0x1/);
});

test("suppression as OpenCV's, with equal scores and crowded boxes", () => {
  const numbers = goldenNumbers(golden, "nms.boxes");
  const boxes = Array.from({ length: numbers.length / 4 }, (_, i) => [...numbers.subarray(4 * i, 4 * i + 4)] as unknown as Box);
  const scores = goldenNumbers(golden, "nms.scores");
  for (const [threshold, overlap] of [
    ["0.25", "0.45"],
    ["0.5", "0.5"],
    ["0.0", "0.2"],
  ] as const) {
    assert.equal(suppressOverlaps(boxes, scores, Number(threshold), Number(overlap)), [
      ...goldenNumbers(golden, `nms.${threshold}.${overlap}`),
    ]);
  }
  // What is kept at a low threshold holds what is kept at a higher one.
  const low = suppressOverlaps(boxes, scores, 0, 0.45);
  for (const t of [0.1, 0.35, 0.7]) assert.equal(low.filter((i) => scores[i]! > t), suppressOverlaps(boxes, scores, t, 0.45));
});

async function refused(open: () => Promise<unknown>, pattern: RegExp): Promise<void> {
  try {
    await open();
  } catch (error) {
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable();
}

test("files and sizes that cannot be used", async () => {
  const device = await testDevice();
  assert.is(NUDENET_CLASSES.length, 18);
  await refused(
    () => loadNudeNet(device, { files: nodeFiles, path: judgeFolder("nudenet/tensors.onnx") }),
    /has no tensor "model.22.cv3.0.2.weight", so it is not a YOLOv8 detector/,
  );
  await refused(() => loadNudeNet(device, { files: memoryFiles({ "x.onnx": "not a model" }), path: "x.onnx" }), /x.onnx: /);
  await refused(() => loadNudeNet(device, model, { size: 300 }), /300 pixels is not a multiple of 32/);
  const detector = await loadNudeNet(device, model);
  await refused(() => detector.run({ data: new Float32Array(3 * 40 * 64), shape: [1, 3, 40, 64] }), /multiples of 32/);
  await detector.destroy();
});

finish();
