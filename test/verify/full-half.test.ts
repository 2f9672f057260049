// Stable Diffusion 1.4's own shapes with operands rounded to f16: gradients between UNet and text encoder are some 1e-8 there, below f16's
// smallest number, which small nets do not show. Weights are hashed; expected values are the field's own code in float32.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { lossAndGradients } from "../../engine/verify/forms/model/loss-grad.ts";
import { HALF_TOLERANCES } from "../../engine/verify/rows.ts";
import { finish, halfDevice } from "../support/device.ts";
import { floats, readFixture, readJson, relativeL2 } from "../support/fixtures.ts";

test("gradients of a full-size UNet and text encoder survive f16 operands", async () => {
  const device = await halfDevice();
  if (!device) return;
  const fixture = readFixture("full-half/full.safetensors");
  const { timestep, input_names: names } = readJson<{ timestep: number; input_names: Record<string, string> }>("full-half/full.json");
  const model = await loadStableDiffusion(device, { files: nodeFiles, folder: "synthetic:sd14" }, { partial: true, weights: "f16" });
  try {
    const shape = [1, ...fixture.get("unet16.eps")!.shape];
    const input = (key: string): { data: Float32Array<ArrayBuffer>; shape: number[] } => ({
      data: hashNumbers(
        names[key]!,
        shape.reduce((a, b) => a * b, 1),
        0,
        1,
      ),
      shape,
    });
    const ids = Uint32Array.from(fixture.get("ids")!.data as ArrayLike<number>, Number);
    const results = await lossAndGradients(model, { ids, noised: input("latent16"), target: input("noise16"), timestep, loss: "mse" });
    const embeds = floats(fixture, "unet16.d_embeds");
    const rows = [
      ["eps", results["eps"]!, floats(fixture, "unet16.eps"), HALF_TOLERANCES.model],
      ["loss", results["loss"]!, floats(fixture, "unet16.loss"), HALF_TOLERANCES.model],
      ["d_latent", results["d_x_t"]!, floats(fixture, "unet16.d_latent"), HALF_TOLERANCES.embeddingGradient],
      ["d_embeds", results["d_embeds"]!.subarray(0, embeds.length), embeds, HALF_TOLERANCES.embeddingGradient],
    ] as const;
    for (const [name, actual, expected, tolerance] of rows) {
      const error = relativeL2(actual, expected);
      assert.ok(error <= tolerance, `${name}: ${error.toExponential(2)} of ${tolerance}`);
      console.log(`${name}: ${error.toExponential(2)} of ${tolerance}`);
    }
  } finally {
    await model.destroy();
  }
});

finish();
