/** A small SDXL through the library, as a program of somebody else's uses it: loaded, drawn with, attacked. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Judge, attack, loadStableDiffusion, memoryFiles } from "../../engine/index.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { finish, testDevice } from "../support/device.ts";
import { wholeFolder } from "../support/xl-folder.ts";

test("a folder is loaded, draws with its sizes and negatives, and is attacked through both encoders", async () => {
  const model = await loadStableDiffusion(await testDevice(), { files: memoryFiles(wholeFolder()), folder: "xl" });
  const draw = async (options: object): Promise<Uint8Array> => {
    const [made] = await model.generate({ prompt: "a church", seed: 3, steps: 2, ...options });
    return new Uint8Array(made!.image.data);
  };
  const plain = await draw({});
  assert.equal(await draw({ sizes: { original: [16, 16], crop: [0, 0], target: [16, 16] } }), plain);
  for (const other of [{ sizes: { original: [900, 30] } }, { negativePrompt: "" }, { prompt2: "a fish" }]) {
    assert.not.equal(await draw(other), plain, JSON.stringify(other));
  }
  const judge: Judge = () => Promise.resolve({ success: false, score: 0, label: "nothing", scores: {} });
  const target = { data: hashNumbers("target", 3 * 256, 0, 0.3), shape: [1, 3, 16, 16] };
  const losses: number[] = [];
  const result = await attack(
    model,
    { attacker: "text-grad", prompt: "a church", seed: 5, target, judge, tokens: 2, iterations: 3, timesteps: 4, maxTimesteps: 1,
      steps: 2 },
    (event) => void (event.type === "losses" && losses.push(...event.losses)),
  );
  assert.is(result.success, false);
  assert.is(result.iterations, 3);
  assert.ok(losses.length === 3 && losses.every(Number.isFinite), losses.join(" "));
  await model.destroy();
});

finish();
