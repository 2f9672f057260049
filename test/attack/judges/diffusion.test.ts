// The diffusion classifier as a judge: the data set's churches, and the order that its score gives.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { diffusionJudge } from "../../../engine/attack/judges/diffusion.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { finish } from "../../support/device.ts";
import { churchPicture, emojiModel } from "../../support/emoji.ts";

const PROMPTS = ["a picture of a church", "a picture of a fish", "a picture of a car"];
const STAGES = [{ samples: 5, keep: 2 }, { samples: 10, keep: 1 }];

test("a church is one; seen as a fish it is not, and the score says by how much", async () => {
  const model = await emojiModel();
  const picture = await churchPicture(2);
  const church = await diffusionJudge(model, PROMPTS[0]!, { prompts: PROMPTS, stages: STAGES })(picture);
  assert.equal([church.success, church.label, Object.keys(church.scores).length], [true, PROMPTS[0], 2]);
  const [own, other] = Object.values(church.scores) as [number, number];
  assert.ok(own < other);
  assert.is(church.score, other / (other + own));
  const fish = await diffusionJudge(model, PROMPTS[1]!, { prompts: PROMPTS, stages: STAGES })(picture);
  assert.equal([fish.success, fish.label, fish.scores], [false, PROMPTS[0], church.scores]);
  assert.is(fish.score, Object.hasOwn(fish.scores, PROMPTS[1]!) ? 1 - church.score : 0);
});

test("a concept that is none of the prompts is refused", async () => {
  const model = await emojiModel();
  assert.throws(
    () => diffusionJudge(model, "a dog", { prompts: PROMPTS }),
    (error: Error) =>
      error instanceof UsageError && /"a dog" is none of the prompts; they are "a picture of a church", /.test(error.message),
  );
});

finish();
