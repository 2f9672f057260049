import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { groupTensors } from "../../engine/loading/names/groups.ts";
import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { mergeLowRank } from "../../engine/loading/low-rank.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import type { WeightSource } from "../../engine/nn/parameters.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import { relativeL2 } from "../support/fixtures.ts";
import { type Tensors, safetensors } from "../support/checkpoints.ts";
import { normals } from "../support/op-test.ts";

const ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0";
const SHAPES: Readonly<Record<string, readonly number[]>> = {
  [`${ATTENTION}.weight`]: [6, 10],
  [`${ATTENTION}.bias`]: [6],
  "down_blocks.0.resnets.0.conv1.weight": [4, 5, 3, 3],
  "down_blocks.0.attentions.0.proj_in.weight": [6, 6, 1, 1],
};
const VALUES = Object.fromEntries(Object.entries(SHAPES).map(([name, shape]) => [name, normals(shape.reduce((a, b) => a * b, 1))]));

const base: WeightSource = {
  name: "base",
  shape: (tensor) => SHAPES[tensor],
  names: () => Object.keys(SHAPES),
  readFloat32: (tensor) => Promise.resolve(VALUES[tensor]!.slice()),
};

const tensor = (data: Float32Array, ...shape: number[]) => ({ dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) });
const number = (value: number) => tensor(Float32Array.of(value));

async function merged(
  tensors: Tensors,
  strength = 1,
  metadata: Readonly<Record<string, string>> = {},
  component: "unet" | "text_encoder" = "unet",
): Promise<WeightSource | undefined> {
  const file = await openSafetensors(bytesSource("x.safetensors", safetensors(tensors, metadata)));
  return mergeLowRank(base, file, groupTensors(file), { component, strength, layersPerBlock: [1] });
}

/** W + scale * up * down in float64. */
function reference(name: string, up: Float32Array, down: Float32Array, rank: number, scale: number): Float64Array {
  const inner = down.length / rank;
  return Float64Array.from(VALUES[name]!, (w, at) => {
    const [row, column] = [Math.floor(at / inner), at % inner];
    let sum = 0;
    for (let r = 0; r < rank; r++) sum += up[row * rank + r]! * down[r * inner + column]!;
    return w + scale * sum;
  });
}

const close = (a: ArrayLike<number>, b: ArrayLike<number>) => assert.ok(relativeL2(a, b) < 1e-7, String(relativeL2(a, b)));

test("linear: alpha over rank, strength, and nothing else changes", async () => {
  const [down, up] = [normals(3 * 10), normals(6 * 3)];
  const module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0";
  const tensors = {
    [`${module}.lora_down.weight`]: tensor(down, 3, 10),
    [`${module}.lora_up.weight`]: tensor(up, 6, 3),
    [`${module}.alpha`]: number(1.5),
  };
  const name = `${ATTENTION}.weight`;
  for (const strength of [1, 0.7, -2]) {
    close(await (await merged(tensors, strength))!.readFloat32(name), reference(name, up, down, 3, (strength * 1.5) / 3));
  }
  // Whole numbers are no weights, but kohya's scripts keep an alpha whole that was given whole.
  const whole = { ...tensors, [`${module}.alpha`]: { dtype: "I64" as const, shape: [], data: Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0) } };
  close(await (await merged(whole))!.readFloat32(name), reference(name, up, down, 3, 2 / 3));
  const source = (await merged(tensors))!;
  for (const other of Object.keys(SHAPES)) if (other !== name) assert.equal(await source.readFloat32(other), VALUES[other]);
  assert.equal(await (await merged(tensors, 0))!.readFloat32(name), VALUES[name]);
});

test("every style of names gives the same weights; without alpha the scale is 1", async () => {
  const [down, up] = [normals(2 * 10), normals(6 * 2)];
  const name = `${ATTENTION}.weight`;
  const wanted = reference(name, up, down, 2, 1);
  const processor = ATTENTION.replace(".to_out.0", ".processor.to_out_lora");
  const forms: readonly (readonly [string, string])[] = [
    [`unet.${ATTENTION}.lora_A.weight`, `unet.${ATTENTION}.lora_B.weight`],
    [`base_model.model.${ATTENTION}.lora_A.default.weight`, `base_model.model.${ATTENTION}.lora_B.default.weight`],
    [`unet.${ATTENTION}.lora.down.weight`, `unet.${ATTENTION}.lora.up.weight`],
    [`${processor}.down.weight`, `${processor}.up.weight`],
    [
      "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_out.0.lora_A.weight",
      "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_out.0.lora_B.weight",
    ],
    [
      "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_out_0.lora_down.weight",
      "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_out_0.lora_up.weight",
    ],
  ];
  for (const [a, b] of forms) close(await (await merged({ [a]: tensor(down, 2, 10), [b]: tensor(up, 6, 2) }))!.readFloat32(name), wanted);
});

test("alpha from the metadata that newer diffusers write", async () => {
  const [down, up] = [normals(2 * 10), normals(6 * 2)];
  const tensors = { [`unet.${ATTENTION}.lora_A.weight`]: tensor(down, 2, 10), [`unet.${ATTENTION}.lora_B.weight`]: tensor(up, 6, 2) };
  const name = `${ATTENTION}.weight`;
  close(
    await (await merged(tensors, 1, { lora_adapter_metadata: JSON.stringify({ "unet.lora_alpha": 8, "unet.r": 2 }) }))!.readFloat32(name),
    reference(name, up, down, 2, 4),
  );
  close(
    await (await merged(tensors, 1, {
      lora_adapter_metadata: JSON.stringify({ "unet.lora_alpha": 8, "unet.alpha_pattern": { "attn2.to_out.0": 1 } }),
    }))!.readFloat32(name),
    reference(name, up, down, 2, 0.5),
  );
  close(
    await (await merged(tensors, 1, {
      lora_adapter_metadata: JSON.stringify({ "unet.lora_alpha": 8, "unet.use_rslora": true }),
    }))!.readFloat32(name),
    reference(name, up, down, 2, 8 / Math.sqrt(2)),
  );
  assert.match(
    await refusal(() => merged(tensors, 1, { lora_adapter_metadata: JSON.stringify({ "unet.use_dora": true }) })),
    /lacks the magnitudes that its metadata \(use_dora\) speaks of/,
  );
});

test("convolutions: 3x3 and 1x1, the up matrix with a unit kernel", async () => {
  const conv = "down_blocks.0.resnets.0.conv1";
  const [down, up] = [normals(2 * 5 * 9), normals(4 * 2)];
  const source = (await merged({
    [`lora_unet_${conv.replaceAll(".", "_")}.lora_down.weight`]: tensor(down, 2, 5, 3, 3),
    [`lora_unet_${conv.replaceAll(".", "_")}.lora_up.weight`]: tensor(up, 4, 2, 1, 1),
    [`lora_unet_${conv.replaceAll(".", "_")}.alpha`]: number(1),
  }))!;
  close(await source.readFloat32(`${conv}.weight`), reference(`${conv}.weight`, up, down, 2, 0.5));
  const [down1, up1] = [normals(6), normals(6)];
  const spm = (await merged({
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": tensor(down1, 1, 6, 1, 1),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": tensor(up1, 6, 1, 1, 1),
    "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": number(1),
  }))!;
  close(
    await spm.readFloat32("down_blocks.0.attentions.0.proj_in.weight"),
    reference("down_blocks.0.attentions.0.proj_in.weight", up1, down1, 1, 1),
  );
});

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, InputError);
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

test("what cannot be merged is refused by name", async () => {
  const module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0";
  const down = tensor(normals(20), 2, 10);
  assert.match(await refusal(() => merged({ [`${module}.hada_w1_a`]: down })), /has only some of LoHa's factors: hada_w1_a \[2,10\]/);
  assert.match(await refusal(() => merged({ [`${module}.oft_blocks`]: down })), /has "oft_blocks", a form that is not supported/);
  assert.match(
    await refusal(() => merged({ [`${module}.lokr_w1`]: down, [`${module}.lokr_w2`]: tensor(normals(4), 2, 2) })),
    /does not fit; is it made for another model\?: lokr_w1 \[2,10\], lokr_w2 \[2,2\]; the model's weight is \[6,10\]/,
  );
  const wide = {
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": tensor(normals(4 * 2048), 4, 2048),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": down,
  };
  const sd1: WeightSource = {
    ...base,
    names: () => ["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"],
    shape: () => [96, 768],
  };
  const xl = await openSafetensors(bytesSource("x.safetensors", safetensors(wide)));
  assert.match(
    await refusal(() => mergeLowRank(sd1, xl, groupTensors(xl), { component: "unet", strength: 1 })),
    /looks like a LoRA for SDXL .*, but the model is SD 1\.x/,
  );
  assert.match(
    await refusal(() => merged({ "lora_unet_nowhere.lora_down.weight": down })),
    /low-rank module "nowhere" is none of this UNet's; is it made for another model\?/,
  );
  assert.match(await refusal(() => merged({ [`${module}.lora_down.weight`]: down })), /has no up matrix/);
  assert.match(
    await refusal(() => merged({ [`${module}.lora_down.weight`]: down, [`${module}.lora_up.weight`]: tensor(normals(14), 7, 2) })),
    /does not fit; .* up \[7,2\]; the model's weight is \[6,10\]/,
  );
  assert.is(
    await merged({ [`${module}.lora_down.weight`]: down, [`${module}.lora_up.weight`]: tensor(normals(12), 6, 2) }, 1, {}, "text_encoder"),
    undefined,
  );
});

/** Numbers of a new tensor, and the tensor. */
function fresh(...shape: number[]): { readonly at: (...index: number[]) => number; readonly tensor: ReturnType<typeof tensor> } {
  const data = normals(shape.reduce((a, b) => a * b, 1));
  return { at: (...index) => data[index.reduce((flat, i, d) => flat * shape[d]! + i, 0)]!, tensor: tensor(data, ...shape) };
}

/** W + scale * D in float64, D by the index of output, input and place in the kernel. */
function plus(name: string, scale: number, difference: (row: number, column: number, place: number) => number): Float64Array {
  const [, columns, ...rest] = SHAPES[name]!;
  const kernel = rest.reduce((a, b) => a * b, 1);
  return Float64Array.from(
    VALUES[name]!,
    (w, at) => w + scale * difference(Math.floor(at / (columns! * kernel)), Math.floor(at / kernel) % columns!, at % kernel),
  );
}

const sum = (count: number, term: (i: number) => number): number =>
  Array.from({ length: count }, (_, i) => term(i)).reduce((a, b) => a + b, 0);
const LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0";
const CONV = "lora_unet_down_blocks_0_resnets_0_conv1";

test("LoHa: the product of two low-rank matrices, number by number; with a core (Tucker) for convolutions", async () => {
  const [a1, b1, a2, b2] = [fresh(6, 2), fresh(2, 10), fresh(6, 2), fresh(2, 10)];
  const linear = {
    [`${LINEAR}.hada_w1_a`]: a1.tensor,
    [`${LINEAR}.hada_w1_b`]: b1.tensor,
    [`${LINEAR}.hada_w2_a`]: a2.tensor,
    [`${LINEAR}.hada_w2_b`]: b2.tensor,
    [`${LINEAR}.alpha`]: number(3),
  };
  const name = `${ATTENTION}.weight`;
  close(
    await (await merged(linear, 0.5))!.readFloat32(name),
    plus(name, 0.75, (o, i) => sum(2, (r) => a1.at(o, r) * b1.at(r, i)) * sum(2, (r) => a2.at(o, r) * b2.at(r, i))),
  );
  const [c1, d1, t1, c2, d2, t2] = [fresh(2, 4), fresh(2, 5), fresh(2, 2, 3, 3), fresh(2, 4), fresh(2, 5), fresh(2, 2, 3, 3)];
  const tucker = { hada_w1_a: c1, hada_w1_b: d1, hada_t1: t1, hada_w2_a: c2, hada_w2_b: d2, hada_t2: t2 };
  const half = (a: typeof c1, b: typeof c1, t: typeof c1) => (o: number, i: number, k: number) =>
    sum(2, (p) => sum(2, (r) => t.at(p, r, Math.floor(k / 3), k % 3) * a.at(p, o) * b.at(r, i)));
  const conv = "down_blocks.0.resnets.0.conv1.weight";
  close(
    await (await merged(Object.fromEntries(Object.entries(tucker).map(([part, { tensor: t }]) => [`${CONV}.${part}`, t]))))!.readFloat32(
      conv,
    ),
    plus(conv, 1, (o, i, k) => half(c1, d1, t1)(o, i, k) * half(c2, d2, t2)(o, i, k)),
  );
});

test("LoKr: Kronecker products of whole matrices and of factors, also of a convolution", async () => {
  const name = `${ATTENTION}.weight`;
  const [w1, w2] = [fresh(2, 5), fresh(3, 2)];
  // of two whole matrices alpha does not count
  const whole = { [`${LINEAR}.lokr_w1`]: w1.tensor, [`${LINEAR}.lokr_w2`]: w2.tensor, [`${LINEAR}.alpha`]: number(99) };
  close(
    await (await merged(whole))!.readFloat32(name),
    plus(name, 1, (o, i) => w1.at(Math.floor(o / 3), Math.floor(i / 2)) * w2.at(o % 3, i % 2)),
  );
  const [a, b] = [fresh(3, 1), fresh(1, 2)];
  const factored = {
    [`${LINEAR}.lokr_w1`]: w1.tensor,
    [`${LINEAR}.lokr_w2_a`]: a.tensor,
    [`${LINEAR}.lokr_w2_b`]: b.tensor,
    [`${LINEAR}.alpha`]: number(0.5),
  };
  close(
    await (await merged(factored))!.readFloat32(name),
    plus(name, 0.5, (o, i) => w1.at(Math.floor(o / 3), Math.floor(i / 2)) * a.at(o % 3, 0) * b.at(0, i % 2)),
  );
  const [v1, v2] = [fresh(2, 1), fresh(2, 5, 3, 3)];
  const conv = "down_blocks.0.resnets.0.conv1.weight";
  close(
    await (await merged({ [`${CONV}.lokr_w1`]: v1.tensor, [`${CONV}.lokr_w2`]: v2.tensor }))!.readFloat32(conv),
    plus(conv, 1, (o, i, k) => v1.at(Math.floor(o / 2), 0) * v2.at(o % 2, i, Math.floor(k / 3), k % 3)),
  );
});

test("LoCon's core between the two matrices; whole differences of weights and biases", async () => {
  const conv = "down_blocks.0.resnets.0.conv1.weight";
  const [down, mid, up] = [fresh(2, 5, 1, 1), fresh(3, 2, 3, 3), fresh(4, 3, 1, 1)];
  const tensors = {
    [`${CONV}.lora_down.weight`]: down.tensor,
    [`${CONV}.lora_mid.weight`]: mid.tensor,
    [`${CONV}.lora_up.weight`]: up.tensor,
  };
  close(
    await (await merged(tensors))!.readFloat32(conv),
    plus(conv, 1, (o, i, k) =>
      sum(3, (p) => sum(2, (r) => up.at(o, p, 0, 0) * mid.at(p, r, Math.floor(k / 3), k % 3) * down.at(r, i, 0, 0))),
    ),
  );
  const [weight, bias] = [fresh(6, 10), fresh(6)];
  const source = (await merged({ [`${LINEAR}.diff`]: weight.tensor, [`${LINEAR}.diff_b`]: bias.tensor }, 2))!;
  close(await source.readFloat32(`${ATTENTION}.weight`), plus(`${ATTENTION}.weight`, 2, (o, i) => weight.at(o, i)));
  close(await source.readFloat32(`${ATTENTION}.bias`), VALUES[`${ATTENTION}.bias`]!.map((w, i) => w + 2 * bias.at(i)));
});

test("DoRA: magnitudes of outputs (PEFT, LyCORIS) and of inputs (LyCORIS)", async () => {
  const name = `${ATTENTION}.weight`;
  const [down, up, m, n] = [normals(2 * 10), normals(6 * 2), fresh(6), fresh(10)];
  const plain = reference(name, up, down, 2, 1);
  const norm = (chosen: (at: number) => boolean): number => Math.sqrt(plain.reduce((s, w, at) => s + (chosen(at) ? w * w : 0), 0));
  const outputs = plain.map((w, at) => (w * m.at(Math.floor(at / 10))) / norm((other) => Math.floor(other / 10) === Math.floor(at / 10)));
  const inputs = plain.map((w, at) => (w * n.at(at % 10)) / norm((other) => other % 10 === at % 10));
  const lora = { [`${LINEAR}.lora_down.weight`]: tensor(down, 2, 10), [`${LINEAR}.lora_up.weight`]: tensor(up, 6, 2) };
  close(await (await merged({ ...lora, [`${LINEAR}.dora_scale`]: { ...m.tensor, shape: [6, 1] } }))!.readFloat32(name), outputs);
  close(await (await merged({ ...lora, [`${LINEAR}.dora_scale`]: { ...n.tensor, shape: [1, 10] } }))!.readFloat32(name), inputs);
  const peft = {
    [`unet.${ATTENTION}.lora_A.weight`]: tensor(down, 2, 10),
    [`unet.${ATTENTION}.lora_B.weight`]: tensor(up, 6, 2),
    [`unet.${ATTENTION}.lora_magnitude_vector`]: m.tensor,
  };
  close(await (await merged(peft))!.readFloat32(name), outputs);
  assert.match(
    await refusal(() => merged({ ...lora, [`${LINEAR}.dora_scale`]: tensor(normals(4), 4, 1) })),
    /magnitudes \(DoRA\) that do not fit/,
  );
});

test("as an overlay: merged where it is for this component alone", async () => {
  const module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0";
  const [down, up] = [normals(20), normals(12)];
  const tensors = { [`${module}.lora_down.weight`]: tensor(down, 2, 10), [`${module}.lora_up.weight`]: tensor(up, 6, 2) };
  const open = async (t: Tensors) => openSafetensors(bytesSource("x.safetensors", safetensors(t)));
  const overlay = await overlayWeights(base, await open(tensors), { component: "unet", layout: {}, strength: 0.5 });
  close(await overlay.readFloat32(`${ATTENTION}.weight`), reference(`${ATTENTION}.weight`, up, down, 2, 0.5));
  const both = await open({ ...tensors, "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": number(1) });
  assert.match(
    await refusal(() => overlayWeights(base, both, { component: "unet", layout: {} })),
    /not UNet weights alone; give it as a LoRA/,
  );
});

test.run();
