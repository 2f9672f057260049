// Operands rounded to f16: their own tolerances in verify, and numbers that f16 cannot hold.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { LetheError } from "../../engine/runtime/errors.ts";
import { HALF_TOLERANCES, TOLERANCES } from "../../engine/verify/rows.ts";
import { finish, halfDevice } from "../support/device.ts";
import { type Tensor, floats, readFixture } from "../support/fixtures.ts";
import { EMOJI, allWithin, describe, golden, run, withMemory } from "./support.ts";

const tensors = readFixture("../../assets/emoji/reference/reference.safetensors");
const of = (name: string): Tensor => tensors.get(name)!;

test("verify judges f16 operands by their own tolerances, and says so", async () => {
  const device = await halfDevice();
  if (!device) return;
  const form = golden(
    "golden_text_encoder",
    { cases: [{ name: "text" }], token_ids: { eos_and_pad: 8191 } },
    { ids: of("0.input_ids"), last_hidden_state: of("0.text_hidden") },
  );
  const result = await run("memory", { files: withMemory(form), model: EMOJI, device: async () => device });
  allWithin(result, 1);
  assert.is(result.halfPrecision, true);
  const [row] = result.rows;
  assert.is(row!.tolerance, HALF_TOLERANCES.model);
  assert.ok(row!.error! > 1e-5, `an error of ${row!.error} is float32's`);
  for (const key of ["zero", "timestepEmbedding"] as const) assert.is(HALF_TOLERANCES[key], TOLERANCES[key]);
});

test("verify judges weights rounded to f16 by tolerances of their own where a model takes part", async () => {
  const result = await run(`${EMOJI}/reference`, { model: EMOJI, weights: "f16" });
  allWithin(result, 60);
  assert.ok(result.halfWeights && !result.halfPrecision);
  assert.ok(result.rows.some((r) => r.tolerance === HALF_TOLERANCES.model) && result.rows.every((r) => r.tolerance !== TOLERANCES.model));
  const ops = await run("test/fixtures/golden/conv2d.json", { weights: "f16" });
  assert.ok(ops.rows.length > 0 && ops.rows.every((r) => r.ok && r.tolerance < HALF_TOLERANCES.opForward), "ops take no part of a model");
});

test("weights' gradients are judged by the tolerances of the model that they are of", async () => {
  const [ids, latent] = [of("0.input_ids"), { shape: [1, 4, 8, 8], data: new Float32Array(256).map((_, i) => Math.sin(i)) }];
  const files = {
    ...golden("golden_loss_grad", { cases: [] }, { ids, x0: latent, noise: { ...latent, data: latent.data.map((x) => x / 2) } }),
    ...golden("golden_weight_grad", { cases: [{ name: "t10.mse" }] }, {
      "grad.unet.conv_out.bias": { shape: [4], data: Float32Array.of(1, 2, 3, 4) },
    }),
  };
  for (const [weights, tolerances] of [["f32", TOLERANCES], ["f16", HALF_TOLERANCES]] as const) {
    const { rows } = await run("memory/golden_weight_grad.json", { files: withMemory(files), model: EMOJI, weights });
    const row = rows.find(({ tensor }) => tensor === "grad.unet.conv_out.bias")!;
    assert.equal([row.tolerance, row.ok, row.error! > 0], [tolerances.embeddingGradient, false, true], describe(row));
  }
});

test("a number beyond f16 ends with an error that names the precision and what to try", async () => {
  const device = await halfDevice();
  if (!device) return;
  const model = await loadStableDiffusion(device, { files: nodeFiles, folder: EMOJI });
  const shape = [1, 4, 8, 8];
  const context = { data: Float32Array.from(floats(tensors, "0.text_hidden")), shape: [1, ...of("0.text_hidden").shape.slice(-2)] };
  const huge = { data: new Float32Array(256).fill(1e5), shape };
  const error = await model.predictNoise(huge, 10, context).then(() => assert.unreachable("expected an error"), (e: unknown) => e);
  assert.instance(error, LetheError);
  assert.match((error as Error).message, /^an element of the predicted noise is NaN, computed with f16 operands: .*--math f32/);
  await model.destroy();
});

finish();
