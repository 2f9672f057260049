// The forms with a model, on the bundled one: its own reference as it lies, and the numbers of that reference in the other forms.
import { test } from "uvu";
import { finish } from "../support/device.ts";
import { type Tensor, floats, readFixture, readJson } from "../support/fixtures.ts";
import * as assert from "uvu/assert";
import { EMOJI, allWithin, golden, run, withMemory } from "./support.ts";

interface Reference {
  readonly latent_scaling_factor: number;
  readonly cases: readonly { readonly timestep: number; readonly prompt: string; readonly loss: number }[];
  readonly ddim: { readonly steps: number; readonly guidance: number };
}
const tensors = readFixture("../../assets/emoji/reference/reference.safetensors");
const json = readJson<Reference>("../../assets/emoji/reference/reference.json");
const of = (name: string): Tensor => tensors.get(name)!;
const f32 = (shape: readonly number[], data: ArrayLike<number>): Tensor => ({ shape, data: Float32Array.from(data) });
const t = json.cases[0]!.timestep;
const verifyInMemory = (contents: Record<string, Uint8Array | string>) => run("memory", { files: withMemory(contents), model: EMOJI });

test("the bundled model's own reference", async () => allWithin(await run(`${EMOJI}/reference`, { model: EMOJI }), 60));

test("text encoder", async () => {
  const form = golden(
    "golden_text_encoder",
    { cases: [{ name: "text" }], token_ids: { eos_and_pad: 8191 } },
    { ids: of("0.input_ids"), last_hidden_state: of("0.text_hidden") },
  );
  const result = await verifyInMemory(form);
  allWithin(result, 1);
  const [work] = result.files;
  assert.ok(work!.flops > 1e6 && work!.peakBytes > 1e6, JSON.stringify(work));
});

test("UNet: a batch, and one timestep a row", async () => {
  // Rows of one batch do not see each other, so two references make one of batch 2.
  const two = (name: string): Tensor =>
    f32([2, ...of(`0.${name}`).shape.slice(1)], [...floats(tensors, `0.${name}`), ...floats(tensors, `1.${name}`)]);
  const form = golden(
    "golden_unet",
    { what: "UNet", cases: [] },
    {
      x1: of("0.unet.latent"),
      x2: two("unet.latent"),
      ctx: two("text_hidden"),
      [`eps.b1.t${t}`]: of("0.unet.eps"),
      [`eps.b2.t${t}_${json.cases[1]!.timestep}`]: two("unet.eps"),
    },
  );
  allWithin(await verifyInMemory(form), 2);
});

test("VAE both ways", async () => {
  const z = floats(tensors, "0.ddim.final").map((x) => x / json.latent_scaling_factor);
  const form = golden(
    "golden_vae",
    { cases: [{ name: "a" }] },
    {
      "a.image": of("0.classifier.input"),
      "a.mean": of("0.vae.encode_mean"),
      "a.logvar": of("0.vae.encode_logvar"),
      "a.z": f32(of("0.ddim.final").shape, z),
      "a.decoded": of("0.vae.decoded"),
    },
  );
  allWithin(await verifyInMemory(form), 3);
});

const gradient = (): Tensor => ({ shape: [1, ...of("0.grad.token_embeddings").shape], data: of("0.grad.token_embeddings").data });

test("loss and its gradient, and a module that is not there", async () => {
  const name = `t${t}.mse`;
  const form = golden("golden_loss_grad", { cases: [{ name }] }, {
    ids: of("0.input_ids"), x0: of("0.grad.x0"), noise: of("0.grad.noise"), ctx: of("0.text_hidden"),
    [`x_t.${name}`]: of("0.grad.noised"), [`loss.${name}`]: of("0.grad.loss"), [`d_embeds.${name}`]: gradient(),
  });
  allWithin(await verifyInMemory(form), 4);
  const broken = golden(
    "golden_loss_grad",
    { cases: [{ name }] },
    {
      ids: of("0.input_ids"),
      x0: of("0.grad.x0"),
      noise: of("0.grad.noise"),
      [`d_embeds.${name}`]: gradient(),
      [`d_act.attic.${name}`]: gradient(),
    },
  );
  const { ok, rows } = await verifyInMemory(broken);
  assert.not.ok(ok);
  assert.ok(rows.some((r) => /no module "attic"/.test(r.note ?? "")));
});

test("the pipeline's sampler", async () => {
  const form = golden(
    "samples",
    {
      guidance_scale: json.ddim.guidance,
      steps: json.ddim.steps,
      cases: [{ name: "pipe.ddim", scheduler: "DDIMScheduler", negative_prompt: "empty" }],
    },
    {
      "ids.prompt": of("0.input_ids"),
      "ids.empty": of("uncond.input_ids"),
      init_latent: of("0.ddim.initial"),
      "pipe.ddim.latents": of("0.ddim.final"),
    },
  );
  allWithin(await verifyInMemory(form), 1);
});

finish();
