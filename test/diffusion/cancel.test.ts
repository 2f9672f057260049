import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../engine/diffusion/generate.ts";
import { emojiModel } from "../support/emoji.ts";
import { finish } from "../support/device.ts";

const OPTIONS = { prompt: "a church", steps: 30, seed: 3 };

test("a drawing that is cancelled stops at once, and the next one is as if it had not been", async () => {
  const model = await emojiModel();
  const [expected] = await generate(model, { ...OPTIONS, steps: 6 });
  const controller = new AbortController();
  let steps = 0;
  const onStep = (done: number): void => {
    steps = done;
    if (done === 3) controller.abort();
  };
  const error = await generate(model, { ...OPTIONS, signal: controller.signal, onStep }).then(() => undefined, (e: Error) => e);
  assert.is(error?.name, "AbortError");
  assert.is(steps, 3);
  const [again] = await generate(model, { ...OPTIONS, steps: 6 });
  assert.equal(again!.array.data, expected!.array.data);
});

test("a signal that has fired before lets nothing run", async () => {
  const model = await emojiModel();
  const before = model.device.pacer.statistics.buffers;
  const error = await generate(model, { ...OPTIONS, signal: AbortSignal.abort() }).then(() => undefined, (e: Error) => e);
  assert.is(error?.name, "AbortError");
  assert.ok(model.device.pacer.statistics.buffers - before <= 4, "only the texts and what the UNet takes of them");
});

finish();
