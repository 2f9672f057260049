/** ESD-x and UCE of a small SDXL by their published recipes, against PyTorch. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { type Unlearned, unlearn } from "../../engine/unlearn/index.ts";
import { RecordedDraws } from "../../engine/verify/forms/unlearn/draws.ts";
import { finish, testDevice } from "../support/device.ts";
import { relativeError } from "../support/op-test.ts";
import { tinyXl } from "../support/tiny-xl.ts";
import { assertChanges, floats, reference } from "../support/xl-reference.ts";

const text = (ids: readonly number[]): string => ids.join(" ");

/** By how much each weight changed. */
async function changesOf({ parts }: StableDiffusionPipeline, { changed }: Unlearned): Promise<Map<string, Float32Array>> {
  const made = new Map<string, Float32Array>();
  for (const { name, read } of changed) {
    const before = await parts.unet.parameters.source.readFloat32(name);
    made.set(name, (await read()).map((x, i) => x - before[i]!));
  }
  return made;
}

test("two steps of ESD-x: trajectory, target, prediction, loss and what Adam does are those of esd_sdxl.py", async () => {
  const { samplingSteps, trained, steps, changes } = reference.esd;
  const base = tinyXl(await testDevice());
  const seen: Record<string, number[]> = { t: [], z: [], target: [], prediction: [], loss: [] };
  const wanted = (what: string, step: number): Float32Array => {
    const value = steps[step]![what as "z"];
    return typeof value === "string" ? floats(value) : Float32Array.of(value);
  };
  const options = { method: "esd-x", concepts: [text(reference.prompt)], steps: steps.length, samplingSteps, size: 8 } as const;
  const result = await unlearn(base, options, undefined, {
    draws: new RecordedDraws({
      run_till: steps.map(({ until }) => until),
      start: steps.map((_, i) => hashNumbers(`esd start ${i}`, 64, 0, 1)),
    }),
    async observe(what, read) {
      const errors = seen[what];
      if (errors) errors.push(relativeError((await read()).data, wanted(what, errors.length)));
    },
  });
  for (const [what, errors] of Object.entries(seen)) {
    assert.is(errors.length, steps.length, what);
    assert.ok(errors.every((error) => error < 1e-4), `${what}: ${errors.join(" ")}`);
  }
  assert.is(result.recipe, "esd-xl-2025");
  assert.is(result.changed.length, trained);
  assertChanges(await changesOf(base, result), changes, 1e-3);
  await result.destroy();
  await base.destroy();
});

test("UCE's closed form is that of uce_sd_erase.py", async () => {
  const base = tinyXl(await testDevice());
  const [concept, anchor, kept] = [reference.prompt, reference.anchor, reference.kept].map(text) as [string, string, string];
  const result = await unlearn(base, { method: "uce", concepts: [concept], anchor, retain: [kept] });
  assert.is(result.recipe, "uce-2025");
  assert.equal(result.changed.map(({ name }) => name).toSorted(), Object.keys(reference.uce).toSorted());
  assertChanges(await changesOf(base, result), reference.uce, 1e-5);
  await result.destroy();
  await base.destroy();
});

finish();
