// From a preprocessor_config.json to what a network takes, where no recorded output reaches.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { Config } from "../../engine/nn/config.ts";
import { preprocessor } from "../../engine/vision/preprocess.ts";

/** 100 x 100, white, with a black frame of two pixels. */
function framed(): RgbImage {
  const data = new Uint8Array(3 * 100 * 100).fill(255);
  const edge = (at: number): boolean => at < 2 || at > 97;
  for (let y = 0; y < 100; y++) {
    for (let x = 0; x < 100; x++) if (edge(x) || edge(y)) data.fill(0, 3 * (100 * y + x), 3 * (100 * y + x) + 3);
  }
  return { data, width: 100, height: 100 };
}

test("ConvNeXT: below 384 the middle of a larger picture is cut out, from 384 on the whole is squeezed (transformers, " +
  "ConvNextImageProcessor.resize)", () => {
  for (const [edge, whole] of [[383, false], [384, true]] as const) {
    const config = Config.of("preprocessor_config.json", { crop_pct: 0.875, size: { shortest_edge: edge }, do_normalize: false });
    const { shape, data } = preprocessor(config)(framed());
    assert.equal(shape, [1, 3, edge, edge]);
    assert.is(data[0]! < 0.5, whole, `the frame at ${edge}`);
    assert.ok(data[Math.floor(edge / 2) * (edge + 1)]! > 0.99, "the middle");
  }
});

test.run();
