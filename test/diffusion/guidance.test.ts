import { suite } from "uvu";
import * as assert from "uvu/assert";
import { classifierFreeGuidance, safeLatentGuidance, SLD_PARAMETERS, SLD_STRENGTHS } from "../../engine/diffusion/guidance.ts";
import { manualSeed } from "../../engine/runtime/random/random.ts";
import { floats, readFixture, readJson, relativeL2 } from "../support/fixtures.ts";

interface Parameters {
  readonly warmup: number;
  readonly guidance: number;
  readonly threshold: number;
  readonly momentum_scale: number;
  readonly momentum_beta: number;
}
const tensors = readFixture("sld/sld.safetensors");
const description = readJson<{ readonly guidance_scale: number; readonly sld: Readonly<Record<string, Parameters>> }>("sld/sld.json");
const test = suite("guidance");

for (const strength of SLD_STRENGTHS) {
  test(`Safe Latent Diffusion ${strength}: every step within 1e-5 of the reference`, () => {
    const eps = floats(tensors, `sld.${strength}.eps`);
    const expected = floats(tensors, `sld.${strength}.noise_pred`);
    const timesteps = floats(tensors, `sld.${strength}.timesteps`);
    const n = expected.length / timesteps.length;
    const momentum = new Float32Array(n);
    timesteps.forEach((t, step) => {
      const [unconditional, text, safety] = [0, 1, 2].map((k) => eps.slice((step * 3 + k) * n, (step * 3 + k + 1) * n)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const out = safeLatentGuidance({ unconditional, text, safety }, momentum, SLD_PARAMETERS[strength], description.guidance_scale, t);
      const error = relativeL2(out, expected.subarray(step * n, (step + 1) * n));
      assert.ok(error <= 1e-5, `step ${step} (t=${t}): relative L2 ${error}`);
    });
  });

  test(`the parameters of ${strength} are the reference's`, () => {
    const { warmup, guidance, threshold, momentum_scale, momentum_beta } = description.sld[strength] as Parameters;
    assert.equal(SLD_PARAMETERS[strength], { warmup, guidance, threshold, momentumScale: momentum_scale, momentumBeta: momentum_beta });
  });
}

test("warm-up looks at the timestep: below it, the result is classifier-free guidance but the momentum still builds up", () => {
  const random = manualSeed(1);
  const [unconditional, text, safety] = [random.randn([64]), random.randn([64]), random.randn([64])];
  const momentum = new Float32Array(64);
  const out = safeLatentGuidance({ unconditional, text, safety }, momentum, SLD_PARAMETERS.medium, 7.5, 9.99);
  assert.ok(relativeL2(out, classifierFreeGuidance(unconditional, text, 7.5)) < 1e-6);
  assert.ok(momentum.some((m) => m !== 0));
});

test("classifier-free guidance against float64", () => {
  const random = manualSeed(2);
  const [u, p] = [random.randn([100]), random.randn([100])];
  const exact = Array.from(u, (v, i) => v + 7.5 * ((p[i] as number) - v));
  assert.ok(relativeL2(classifierFreeGuidance(u, p, 7.5), exact) < 1e-6);
  assert.ok(relativeL2(classifierFreeGuidance(u, p, 1), p) < 1e-6);
});

test("different lengths are named", () => {
  const [a, b] = [new Float32Array(4), new Float32Array(5)];
  assert.throws(() => classifierFreeGuidance(a, b, 7.5), /4 elements, text has 5/);
  assert.throws(() => safeLatentGuidance({ unconditional: a, text: a, safety: b }, a, SLD_PARAMETERS.weak, 7.5, 1), /safety has 5/);
});

test.run();
