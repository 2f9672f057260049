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

async function merged(tensors: Tensors, strength = 1, metadata: Readonly<Record<string, string>> = {}, component: "unet" | "text_encoder" = "unet"): Promise<WeightSource | undefined> {
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
  const tensors = { [`${module}.lora_down.weight`]: tensor(down, 3, 10), [`${module}.lora_up.weight`]: tensor(up, 6, 3), [`${module}.alpha`]: number(1.5) };
  const name = `${ATTENTION}.weight`;
  for (const strength of [1, 0.7, -2]) close(await (await merged(tensors, strength))!.readFloat32(name), reference(name, up, down, 3, (strength * 1.5) / 3));
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
    ["lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_out_0.lora_down.weight", "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_out_0.lora_up.weight"],
  ];
  for (const [a, b] of forms) close(await (await merged({ [a]: tensor(down, 2, 10), [b]: tensor(up, 6, 2) }))!.readFloat32(name), wanted);
});

test("alpha from the metadata that newer diffusers write", async () => {
  const [down, up] = [normals(2 * 10), normals(6 * 2)];
  const tensors = { [`unet.${ATTENTION}.lora_A.weight`]: tensor(down, 2, 10), [`unet.${ATTENTION}.lora_B.weight`]: tensor(up, 6, 2) };
  const name = `${ATTENTION}.weight`;
  close(await (await merged(tensors, 1, { lora_adapter_metadata: JSON.stringify({ "unet.lora_alpha": 8, "unet.r": 2 }) }))!.readFloat32(name), reference(name, up, down, 2, 4));
  close(await (await merged(tensors, 1, { lora_adapter_metadata: JSON.stringify({ "unet.lora_alpha": 8, "unet.alpha_pattern": { "attn2.to_out.0": 1 } }) }))!.readFloat32(name), reference(name, up, down, 2, 0.5));
  assert.is(await refusal(() => merged(tensors, 1, { lora_adapter_metadata: JSON.stringify({ "unet.use_rslora": true }) })), "x.safetensors: its adapter was trained with use_rslora, which is not supported");
});

test("convolutions: 3x3 and 1x1, the up matrix with a unit kernel", async () => {
  const conv = "down_blocks.0.resnets.0.conv1";
  const [down, up] = [normals(2 * 5 * 9), normals(4 * 2)];
  const source = (await merged({ [`lora_unet_${conv.replaceAll(".", "_")}.lora_down.weight`]: tensor(down, 2, 5, 3, 3), [`lora_unet_${conv.replaceAll(".", "_")}.lora_up.weight`]: tensor(up, 4, 2, 1, 1), [`lora_unet_${conv.replaceAll(".", "_")}.alpha`]: number(1) }))!;
  close(await source.readFloat32(`${conv}.weight`), reference(`${conv}.weight`, up, down, 2, 0.5));
  const [down1, up1] = [normals(6), normals(6)];
  const spm = (await merged({ "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": tensor(down1, 1, 6, 1, 1), "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": tensor(up1, 6, 1, 1, 1), "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": number(1) }))!;
  close(await spm.readFloat32("down_blocks.0.attentions.0.proj_in.weight"), reference("down_blocks.0.attentions.0.proj_in.weight", up1, down1, 1, 1));
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
  assert.match(await refusal(() => merged({ [`${module}.hada_w1_a`]: down })), /LoHa, LoKr, DoRA and the like are not supported/);
  assert.match(await refusal(() => merged({ "lora_unet_nowhere.lora_down.weight": down })), /low-rank module "nowhere" is none of this UNet's; is it made for another model\?/);
  assert.match(await refusal(() => merged({ [`${module}.lora_down.weight`]: down })), /has no up matrix/);
  assert.match(await refusal(() => merged({ [`${module}.lora_down.weight`]: down, [`${module}.lora_up.weight`]: tensor(normals(14), 7, 2) })), /is \[7,2\] times \[2,10\], the model's weight \[6,10\]/);
  assert.is(await merged({ [`${module}.lora_down.weight`]: down, [`${module}.lora_up.weight`]: tensor(normals(12), 6, 2) }, 1, {}, "text_encoder"), undefined);
});

test("as an overlay: merged where it is for this component alone", async () => {
  const module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0";
  const [down, up] = [normals(20), normals(12)];
  const tensors = { [`${module}.lora_down.weight`]: tensor(down, 2, 10), [`${module}.lora_up.weight`]: tensor(up, 6, 2) };
  const open = async (t: Tensors) => openSafetensors(bytesSource("x.safetensors", safetensors(t)));
  const overlay = overlayWeights(base, await open(tensors), { component: "unet", layout: {}, strength: 0.5 });
  close(await overlay.readFloat32(`${ATTENTION}.weight`), reference(`${ATTENTION}.weight`, up, down, 2, 0.5));
  const both = await open({ ...tensors, "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": number(1) });
  assert.match(await refusal(async () => overlayWeights(base, both, { component: "unet", layout: {} })), /not UNet weights alone; give it as a LoRA/);
});

test.run();
