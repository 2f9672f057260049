// References of the known forms with other constants than the usual: made here, from what the forms' specification says.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { expectedTensors } from "../../engine/loading/expected.ts";
import { SYNTHETIC_MODELS, hashNumbers } from "../../engine/loading/synthetic.ts";
import { Config } from "../../engine/nn/config.ts";
import { openGolden } from "../../engine/verify/golden.ts";
import { hashedInput } from "../../engine/verify/forms/model/full.ts";
import { type Tensor, floats, readFixture, readJson } from "../support/fixtures.ts";
import { allWithin, golden, run, withMemory } from "./support.ts";

const test = suite("variants of references");

const noDevice = (): never => {
  throw new Error("a device was asked for");
};
const f32 = (shape: readonly number[], data: ArrayLike<number>): Tensor => ({ shape, data: Float32Array.from(data) });

const STEPS = 7;
const UNIT = Array.from({ length: 24 }, (_, i) => Math.cos(1.7 * i) * 1.3);

interface Constants {
  readonly amplitude: number;
  readonly period: number;
  readonly offset: number;
}

type Model = (x: readonly number[], t: number) => number[];

/** diffusers' DDIM, eta 0, leading spacing with offset 1, in float64 (arXiv 2010.02502, equation 12). */
function ddim(model: Model, ac: Float32Array): { timesteps: number[]; path: number[][] } {
  const stride = Math.floor(1000 / STEPS);
  const timesteps = Array.from({ length: STEPS }, (_, i) => (STEPS - 1 - i) * stride + 1);
  const path = [UNIT];
  for (const t of timesteps) {
    const x = path.at(-1)!;
    const [now, next] = [ac[t]!, t >= stride ? ac[t - stride]! : ac[0]!];
    const eps = model(x, t);
    path.push(x.map((v, i) => (Math.sqrt(next) * (v - Math.sqrt(1 - now) * eps[i]!)) / Math.sqrt(now) + Math.sqrt(1 - next) * eps[i]!));
  }
  return { timesteps, path };
}

/**
 * diffusers' Euler, linspace spacing: sigmas between whole timesteps by linear interpolation (arXiv 2206.00364, algorithm 2 without churn).
 */
function euler(model: Model, ac: Float32Array): { timesteps: number[]; path: number[][]; sigmas: number[] } {
  const timesteps = Array.from({ length: STEPS }, (_, i) => ((STEPS - 1 - i) * 999) / (STEPS - 1));
  const at = (t: number): number => Math.sqrt((1 - ac[t]!) / ac[t]!);
  const sigmas = [
    ...timesteps.map((t) => at(Math.floor(t)) + (t - Math.floor(t)) * (at(Math.min(999, Math.floor(t) + 1)) - at(Math.floor(t)))),
    0,
  ];
  const path = [UNIT.map((v) => v * sigmas[0]!)];
  timesteps.forEach((t, step) => {
    const [x, sigma] = [path.at(-1)!, sigmas[step]!];
    const eps = model(x.map((v) => v / Math.sqrt(sigma ** 2 + 1)), t);
    path.push(x.map((v, i) => v + (sigmas[step + 1]! - sigma) * eps[i]!));
  });
  return { timesteps, path, sigmas };
}

/** A `schedulers` reference whose stand-in for a model has these constants, with or without a field that says so. */
function schedulers({ amplitude, period, offset }: Constants, stated: boolean): Record<string, Uint8Array | string> {
  const fixture = readFixture("schedulers/schedulers.safetensors");
  const ac = floats(fixture, "alphas_cumprod");
  const model: Model = (x, t) => x.map((v) => amplitude * Math.sin(t / period) * v + offset);
  const cases = { ddim: ddim(model, ac), euler: euler(model, ac) };
  const classes = { ddim: "DDIMScheduler", euler: "EulerDiscreteScheduler" };
  const json = {
    common_config: readJson<{ common_config: object }>("schedulers/schedulers.json").common_config,
    ...(stated && { fake_model_constants: { amplitude, period, offset } }),
    cases: Object.entries(classes).map(([name, cls]) => ({
      name,
      cls,
      steps: STEPS,
      config: name === "ddim" ? { clip_sample: false, set_alpha_to_one: false, steps_offset: 1 } : {},
    })),
  };
  const tensors: Record<string, Tensor> = {
    betas: fixture.get("betas")!,
    alphas_cumprod: fixture.get("alphas_cumprod")!,
    x_unit: f32([2, 3, 2, 2], UNIT),
    noise: f32([1, 2, 3, 2, 2], UNIT),
  };
  for (const [name, { timesteps, path }] of Object.entries(cases)) {
    tensors[`${name}.timesteps`] = f32([STEPS], timesteps);
    tensors[`${name}.traj`] = f32([path.length, 2, 3, 2, 2], path.flat());
  }
  tensors["euler.sigmas"] = f32([STEPS + 1], cases.euler.sigmas);
  return golden("schedulers", json, tensors);
}

const verifyInMemory = (contents: Record<string, Uint8Array | string>) => run("memory", { device: noDevice, files: withMemory(contents) });

test("schedulers under another stand-in for a model, and under the usual one where the manifest states none", async () => {
  allWithin(await verifyInMemory(schedulers({ amplitude: -0.7, period: 37, offset: 0.45 }, true)), 7);
  allWithin(await verifyInMemory(schedulers({ amplitude: 0.3, period: 100, offset: 0.1 }, false)), 7);
});

test("schedulers under a stand-in that is not the stated one fail, and so does one that is stated in part", async () => {
  const { rows } = await verifyInMemory(schedulers({ amplitude: -0.7, period: 37, offset: 0.45 }, false));
  assert.equal(rows.filter((r) => !r.ok).map((r) => `${r.case} ${r.tensor}`), ["ddim traj", "euler traj"]);
  const files = schedulers({ amplitude: 0.3, period: 100, offset: 0.1 }, true);
  const json = JSON.parse(files["memory/schedulers.json"] as string) as { fake_model_constants: Record<string, number> };
  delete json.fake_model_constants["period"];
  const partly = await verifyInMemory({ ...files, "memory/schedulers.json": JSON.stringify(json) });
  assert.ok(partly.rows.some((r) => !r.ok && /"period" must be a number/.test(r.note ?? "")));
});

test("hashed inputs have the names that the manifest gives them", async () => {
  const of = async (json: object) => openGolden(memoryFiles({ "a.json": JSON.stringify(json) }), "a.json");
  // First and last of the streams, worked out from the documented hash with integers of any size.
  const first = (name: string, std: number): number => {
    const word32 = (x: bigint): bigint => BigInt.asUintN(32, x);
    let h = 0x811c9dc5n;
    for (const byte of new TextEncoder().encode(name)) h = word32((h ^ BigInt(byte)) * 0x01000193n);
    const state = word32(h * 747796405n + 2891336453n);
    const word = word32(((state >> ((state >> 28n) + 4n)) ^ state) * 277803737n);
    return Math.fround((Number((word >> 22n) ^ word) / 4294967296 * 2 - 1) * (Math.sqrt(3) * std));
  };
  assert.is(first("golden.latent", 1), Math.fround(1.64583731)); // test vector of the specification
  const named = await of({ input_names: { latent: "a.whole", latent16: "a.small", image64: "a.picture" } });
  assert.is(hashedInput(named, "latent", [1, 4, 64, 64], 64).data[0], first("a.whole", 1));
  assert.is(hashedInput(named, "latent", [1, 4, 16, 16], 64).data[0], first("a.small", 1));
  assert.is(hashedInput(named, "image", [1, 3, 64, 64], 512).data[0], first("a.picture", 1 / Math.sqrt(3)));
  assert.throws(() => hashedInput(named, "noise", [1, 4, 16, 16], 64), /"noise16" must be a text/);
  const unnamed = await of({});
  assert.is(hashedInput(unnamed, "z", [1, 4, 8, 8], 64).data[0], first("golden.z8", 1));
  assert.is(hashedInput(unnamed, "image", [1, 3, 512, 512], 512).data[0], first("golden.image", 1 / Math.sqrt(3)));
});

test("hashed weights of another gain; a component, a case or a listed tensor without a check is a failed row", async () => {
  const shapes = expectedTensors("vae", Config.of("vae", SYNTHETIC_MODELS.sd14.vae));
  const list = (gain: number): object => {
    const entries = [...shapes].map(([name, shape]) => {
      const std = name.endsWith(".bias") ? 0.02 : name.includes("norm") ? 0.1 : gain / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1));
      const mean = name.includes("norm") && !name.endsWith(".bias") ? 1 : 0;
      const count = shape.reduce((a, b) => a * b, 1);
      return [
        name,
        { shape, first: [...hashNumbers(name, Math.min(2, count), mean, std)], last: hashNumbers(name, 1, mean, std, count - 1)[0] },
      ];
    });
    return Object.fromEntries(entries);
  };
  const check = (json: object) => verifyInMemory({ "memory/full_weights.json": JSON.stringify(json) });
  allWithin(await check({ gain: 0.8, vae: list(0.8) }), 2);
  const { rows } = await check({
    gain: 0.8,
    vae: list(1.5),
    text_encoder_3: {},
    cases: [{ name: "more" }],
    tensors: { lost: { shape: [1], is: "somewhere" } },
  });
  assert.equal(
    rows.filter((r) => !r.ok).map((r) => [r.case, r.tensor, r.note]),
    [
      ["text_encoder_3", "", "no check for this component; known are unet, text_encoder, vae"],
      ["vae", "values", undefined],
      ["", "lost", "listed, but not in the file"],
      ["more", "", "no check for this case"],
    ],
  );
});

test.run();
