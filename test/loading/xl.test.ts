/** SDXL's names: two text encoders, the projection that OpenCLIP keeps transposed, added conditions, low-rank modules of both. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { groupTensors } from "../../engine/loading/names/groups.ts";
import { isLeftover, locate } from "../../engine/loading/names/locate.ts";
import { lowRankName } from "../../engine/loading/names/low-rank.ts";
import { unetName } from "../../engine/loading/names/unet.ts";
import { componentFile } from "../../engine/loading/names/view.ts";
import { safetensors } from "../support/checkpoints.ts";

const numbers = (...shape: number[]) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i);
  return { dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) };
};

test("each encoder is known by its prefix, and the projection is the second one's only", () => {
  const block = "transformer.resblocks.3.attn.in_proj_weight";
  assert.is(locate(`conditioner.embedders.1.model.${block}`)?.component, "text_encoder_2");
  assert.is(locate("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight")?.component, "text_encoder");
  assert.is(locate("text_encoder_2.text_model.final_layer_norm.weight")?.component, "text_encoder_2");
  assert.is(locate(`cond_stage_model.model.${block}`)?.component, "text_encoder");
  assert.not(isLeftover("conditioner.embedders.1.model.text_projection"));
  assert.ok(isLeftover("cond_stage_model.model.text_projection"));
  assert.ok(isLeftover("conditioner.embedders.1.model.logit_scale"));
});

test("OpenCLIP's encoder becomes transformers': all its blocks, and the projection with rows and columns exchanged", async () => {
  const prefix = "conditioner.embedders.1.model.";
  const file = await openSafetensors(
    bytesSource("xl.safetensors", safetensors({
      [`${prefix}text_projection`]: numbers(4, 3),
      [`${prefix}transformer.resblocks.0.attn.in_proj_weight`]: numbers(12, 4),
      [`${prefix}transformer.resblocks.1.ln_1.weight`]: numbers(4),
      [`${prefix}ln_final.weight`]: numbers(4),
    })),
  );
  const second = componentFile(file, groupTensors(file).components.get("text_encoder_2")!);
  assert.equal([...second.entries.keys()].toSorted(), [
    "text_model.encoder.layers.0.self_attn.k_proj.weight",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_model.encoder.layers.0.self_attn.v_proj.weight",
    "text_model.encoder.layers.1.layer_norm1.weight",
    "text_model.final_layer_norm.weight",
    "text_projection.weight",
  ]);
  assert.equal(second.entries.get("text_projection.weight")!.shape, [3, 4]);
  assert.equal([...(await second.readFloat32("text_projection.weight"))], [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
  assert.equal((await second.readFloat32("text_model.encoder.layers.0.self_attn.k_proj.weight"))[0], 16);
});

test("label_emb is the embedding of the added conditions", () => {
  const layout = { layersPerBlock: [2, 2, 2] };
  assert.is(unetName("label_emb.0.0.weight", layout), "add_embedding.linear_1.weight");
  assert.is(unetName("label_emb.0.2.bias", layout), "add_embedding.linear_2.bias");
  assert.is(
    unetName("input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight", layout),
    "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k.weight",
  );
  assert.is(unetName("output_blocks.5.2.conv.weight", layout), "up_blocks.1.upsamplers.0.conv.weight");
});

test("low-rank modules of both encoders, in kohya's, diffusers' and ComfyUI's names", () => {
  const of = (name: string) => [lowRankName(name)?.component, lowRankName(name)?.role];
  assert.equal(of("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"), ["text_encoder", "down"]);
  assert.equal(of("lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_up.weight"), ["text_encoder_2", "up"]);
  assert.equal(of("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"), ["text_encoder_2", "down"]);
  assert.equal(of("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight"), ["text_encoder_2", "up"]);
  assert.equal(of("clip_g.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"), ["text_encoder_2", "down"]);
  assert.equal(of("lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_k.alpha"), ["unet", "alpha"]);
});

test.run();
