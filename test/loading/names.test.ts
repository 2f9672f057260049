import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { foldCopies, groupTensors } from "../../engine/loading/names/groups.ts";
import { identify } from "../../engine/loading/names/identify.ts";
import { locate } from "../../engine/loading/names/locate.ts";
import { lowRankName, lowRankTargets } from "../../engine/loading/names/low-rank.ts";
import { openClipTextTensors, transformersTextName } from "../../engine/loading/names/text-encoder.ts";
import { unetLayout, unetName } from "../../engine/loading/names/unet.ts";
import { vaeLevels, vaeName } from "../../engine/loading/names/vae.ts";
import { componentFile } from "../../engine/loading/names/view.ts";
import { openPyTorch } from "../../engine/formats/pickle/pytorch.ts";
import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import type { TensorFile } from "../../engine/formats/tensor-file.ts";
import { type Section, originalNames, sd14Tensors } from "../support/original-names.ts";
import { type TorchTensor, torchFile } from "../support/torch-file.ts";
import { rejects } from "../formats/support.ts";

const LAYERS = { "unet sd1": [2, 2, 2, 2], "unet sd2": [2, 2, 2, 2], "unet small": [1, 1, 1], "unet deep": [3, 3] } as const;
const LEVELS = { "vae sd1": 4, "vae small": 3, "vae deep": 2 } as const;

/** A file of small tensors with these names and shapes; every element is the tensor's number. */
async function fileOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<TensorFile> {
  const tensors = Object.entries(shapes).map(
    ([name, shape], i) =>
      [name, { dtype: "F32" as const, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(i) }] as const,
  );
  return openSafetensors(bytesSource("x.file", encodeSafetensors("x.file", Object.fromEntries(tensors), metadata)));
}

for (const [section, layersPerBlock] of Object.entries(LAYERS) as [keyof typeof LAYERS, readonly number[]][]) {
  test(`${section}: every original name is the one that diffusers' converter gives, and the layout shows`, () => {
    const pairs = originalNames(section);
    assert.equal(unetLayout(pairs.map((p) => p.original)), { layersPerBlock });
    for (const { original, names } of pairs) {
      assert.is(unetName(original, { layersPerBlock }), names[0]);
      assert.equal(locate(original), { component: "unet", style: "CompVis", name: original });
      assert.equal(locate(names[0]!), { component: "unet", style: "diffusers", name: names[0] });
    }
    assert.is(new Set(pairs.map((p) => unetName(p.original, { layersPerBlock }))).size, pairs.length);
  });
}

for (const [section, levels] of Object.entries(LEVELS) as [keyof typeof LEVELS, number][]) {
  test(`${section}: every original name is the one that diffusers' converter gives`, () => {
    const pairs = originalNames(section);
    assert.is(vaeLevels(pairs.map((p) => p.original)), levels);
    for (const { original, names } of pairs) {
      assert.is(vaeName(original, levels), names[0]);
      assert.is(vaeName(names[0]!, levels), names[0]);
      for (const name of [original, names[0]!]) assert.is(locate(name)?.component, "vae", name);
    }
    assert.is(vaeName("encoder.mid_block.attentions.0.query.weight", levels), "encoder.mid_block.attentions.0.to_q.weight");
    assert.is(vaeName("decoder.mid_block.attentions.0.proj_attn.bias", levels), "decoder.mid_block.attentions.0.to_out.0.bias");
  });
}

test("text sd2: OpenCLIP's names, the fused projection in thirds, the last block left out", () => {
  for (const { original, names } of originalNames("text sd2")) {
    assert.equal(openClipTextTensors(original, 23).map((t) => t.name), names, original);
    assert.is(locate(`cond_stage_model.model.${original}`)?.style, "OpenCLIP", original);
  }
});

test("Stable Diffusion 1.4: mapped names and shapes are exactly the published model's", () => {
  const same = (section: Section, component: "unet" | "vae"): void => {
    const wanted = sd14Tensors(component);
    const pairs = originalNames(section);
    assert.is(pairs.length, wanted.size);
    for (const { original, names: [name], shape } of pairs) {
      // 1x1 convolutions there, linear here
      const trimmed = component === "vae" && name!.includes("attentions.0.to_") && shape.length === 4 ? shape.slice(0, 2) : shape;
      assert.equal(
        trimmed,
        wanted.get(component === "vae" ? vaeName(original, 4)! : unetName(original, { layersPerBlock: [2, 2, 2, 2] })!),
        original,
      );
    }
  };
  same("unet sd1", "unet");
  same("vae sd1", "vae");
  for (const name of sd14Tensors("text_encoder").keys()) {
    assert.is(transformersTextName(name), name);
    assert.is(transformersTextName(name.replace("text_model.", "")), name);
  }
});

test("well-known names", () => {
  const layout = { layersPerBlock: [2, 2, 2, 2] };
  const known = {
    "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
    "middle_block.1.proj_in.bias": "mid_block.attentions.0.proj_in.bias",
    "middle_block.2.out_layers.3.weight": "mid_block.resnets.1.conv2.weight",
    "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.3.1.norm.weight": "up_blocks.1.attentions.0.norm.weight",
    "output_blocks.5.2.conv.bias": "up_blocks.1.upsamplers.0.conv.bias",
    "output_blocks.11.0.skip_connection.weight": "up_blocks.3.resnets.2.conv_shortcut.weight",
    "time_embed.2.bias": "time_embedding.linear_2.bias",
  };
  for (const [original, name] of Object.entries(known)) assert.is(unetName(original, layout), name);
  for (const none of [
    "input_blocks.12.0.in_layers.0.weight",
    "output_blocks.12.0.in_layers.0.weight",
    "input_blocks.1.2.proj_in.weight",
    "input_blocks.1.0.nothing.weight",
    "middle_block.3.in_layers.0.weight",
    "output_blocks.0.1.conv.weight",
    "output_blocks.11.2.conv.weight",
  ]) {
    assert.is(unetName(none, layout), undefined, none);
  }
  assert.is(vaeName("decoder.up.3.block.0.norm1.weight", 4), "decoder.up_blocks.0.resnets.0.norm1.weight");
  assert.is(vaeName("encoder.down.0.downsample.conv.weight", 4), "encoder.down_blocks.0.downsamplers.0.conv.weight");
  assert.is(vaeName("decoder.up.4.block.0.norm1.weight", 4), undefined);
  assert.is(vaeName("decoder.down.0.block.0.norm1.weight", 4), undefined);
});

test("prefixes in any order and number", () => {
  const unet = [
    "",
    "module.",
    "unet.",
    "model.diffusion_model.",
    "module.model.diffusion_model.",
    "state_dict.model.diffusion_model.",
    "_orig_mod.",
    "diffusion_model.",
    "unet.module.",
  ];
  for (const prefix of unet) {
    assert.equal(locate(`${prefix}conv_in.weight`), { component: "unet", style: "diffusers", name: "conv_in.weight" });
    assert.equal(locate(`${prefix}input_blocks.0.0.weight`), { component: "unet", style: "CompVis", name: "input_blocks.0.0.weight" });
  }
  for (const prefix of ["", "module.", "text_encoder.", "cond_stage_model.transformer.", "module.text_encoder."]) {
    assert.is(locate(`${prefix}text_model.final_layer_norm.bias`)?.component, "text_encoder");
  }
  assert.is(locate("cond_stage_model.transformer.encoder.layers.3.mlp.fc1.weight")?.component, "text_encoder");
  assert.is(locate("conditioner.embedders.0.model.transformer.resblocks.0.ln_1.weight")?.style, "OpenCLIP");
  assert.is(locate("first_stage_model.encoder.conv_in.weight")?.component, "vae");
  for (const none of [
    "resnet.embedder.embedder.convolution.weight",
    "control_model.input_blocks.0.0.weight",
    "vit.encoder.layer.0.output.dense.weight",
    "lora_unet_mid.alpha",
    "encoder.layer.0.weight",
  ]) {
    assert.is(locate(none), undefined, none);
  }
});

test("low-rank names of every style lead to their module", () => {
  const tensors = [...sd14Tensors("unet").keys()];
  const target = lowRankTargets(tensors, { layersPerBlock: [2, 2, 2, 2] });
  const wanted = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.weight";
  for (const name of [
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0.lora_down.weight",
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_out_0.lora_down.weight",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.down.weight",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.down.weight",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.lora.down.weight",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.lora_A.weight",
    "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.lora_A.default.weight",
  ]) {
    const low = lowRankName(name)!;
    assert.is(low.role, "down", name);
    assert.is(low.component ?? "unet", "unet", name);
    assert.is(target(low.module), wanted, name);
  }
  for (const { original, names } of originalNames("unet sd1")) {
    if (original.endsWith(".weight")) assert.is(target(original.slice(0, -7).replaceAll(".", "_")), names[0], original);
  }
  const text = lowRankTargets(sd14Tensors("text_encoder").keys());
  for (const name of [
    "lora_te_text_model_encoder_layers_3_self_attn_q_proj.alpha",
    "text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_linear_layer.up.weight",
    "text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora.up.weight",
    "text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_B.weight",
  ]) {
    const low = lowRankName(name)!;
    assert.is(low.component, "text_encoder");
    assert.is(text(low.module), "text_model.encoder.layers.3.self_attn.q_proj.weight", name);
  }
  assert.is(lowRankName("lora_unet_conv_in.hada_w1_a")?.role, "hada_w1_a");
  assert.is(lowRankName("lora_unet_conv_in.dora_scale")?.role, "magnitude");
  assert.is(lowRankName("lora_unet_conv_in.oft_blocks")?.role, "other");
  assert.equal(
    [
      lowRankName("diffusion_model.input_blocks.1.1.proj_in.lora_A.weight")?.component,
      lowRankName("clip_l.text_model.encoder.layers.0.mlp.fc1.lora_A.weight")?.component,
    ],
    ["unet", "text_encoder"],
  );
  // diffusers 0.16 saved all four beside each projection and read the projection's own
  const sibling = (which: string): string | undefined =>
    lowRankName(`text_encoder.text_model.encoder.layers.0.self_attn.k_proj.to_${which}_lora.down.weight`)?.role;
  assert.equal(["q", "k", "v", "out"].map(sibling), ["unused", "down", "unused", "unused"]);
  for (const name of tensors) assert.is(lowRankName(name), undefined, name);
});

test("a file is described by what it looks like", async () => {
  const describe = async (shapes: Record<string, readonly number[]>): Promise<string> => {
    const file = await fileOf(shapes);
    return identify(file, groupTensors(file)).description;
  };
  assert.is(
    await describe({
      "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": [4, 768],
      "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": [4, 768],
    }),
    "a LoRA for SD 1.x (kohya names, rank 4: 1 UNet modules, 1 text encoder modules)",
  );
  assert.match(
    await describe({ "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": [1, 1024] }),
    /rank 1, as SPM erasers are, for SD 2\.x/,
  );
  assert.is(
    await describe({ "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": [4, 768] }),
    "a UNet of SD 1.x (diffusers names)",
  );
  assert.is(
    await describe({
      "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": [4, 1024],
      "first_stage_model.encoder.mid.attn_1.q.weight": [2, 2, 1, 1],
    }),
    "a single-file checkpoint of SD 2.x (original (CompVis) names: UNet, VAE)",
  );
  assert.is(await describe({ "text_model.final_layer_norm.weight": [768] }), "a text encoder of SD 1.x (diffusers names)");
  assert.is(await describe({ "resnet.embedder.embedder.convolution.weight": [4, 3, 7, 7] }), "a ResNet image classifier");
  assert.is(await describe({ "controlnet_mid_block.weight": [4, 4, 1, 1], "conv_in.weight": [4, 4, 3, 3] }), "a ControlNet");
  assert.match(await describe({ "string_to_param.*": [1, 768] }), /textual inversion/);
  assert.match(await describe({ "foo.weight": [1] }), /unknown kind \(foo.weight\)/);
});

test("contradictions are refused", async () => {
  const group = async (...names: string[]) => {
    const file = await fileOf(Object.fromEntries(names.map((name) => [name, [2, 2]])));
    return groupTensors(file);
  };
  const twice = async (...values: number[]) => {
    const names = ["conv_in.weight", "unet.conv_in.weight"];
    const file = await openSafetensors(
      bytesSource(
        "x.file",
        encodeSafetensors(
          "x.file",
          Object.fromEntries(names.map((name, i) => [name, { dtype: "F32", shape: [1], data: Float32Array.of(values[i]!) }])),
        ),
      ),
    );
    return foldCopies(file, groupTensors(file));
  };
  await rejects(() => twice(1, 2), /"conv_in.weight" and "unet.conv_in.weight" are the same part of the UNet and differ/);
  assert.is((await twice(1, 1)).components.get("unet")!.tensors.size, 1);
  await rejects(() => group("conv_in.weight", "model.diffusion_model.out.2.weight"), /mixes two conventions of UNet names/);
  await rejects(
    () => group("model_ema.diffusion_modelout2weight"),
    /averaged tensor "model_ema.diffusion_modelout2weight" has no counterpart/,
  );
});

test("of several state dicts with keys of any kind the model's is taken; a critic's lies beside", async () => {
  const tensor: TorchTensor = { dtype: "F32", shape: [1], read: () => new Uint8Array(4) };
  const file = await openPyTorch(
    bytesSource("x.file", torchFile({ student: { "conv_in.weight": tensor }, critic: { "layer.0.weight": tensor }, rng: tensor })),
  );
  const groups = groupTensors(file);
  assert.equal([...groups.components.get("unet")!.tensors.keys()], ["conv_in.weight"]);
  assert.equal([groups.unknown, [...groups.leftovers].toSorted()], [[], ["critic.layer.0.weight", "rng"]]);
});

test("views: thirds of a fused projection, 1x1 kernels taken off, partial files need a layout", async () => {
  const text = await fileOf({
    "transformer.resblocks.0.attn.in_proj_weight": [6, 2],
    "transformer.resblocks.1.attn.in_proj_weight": [6, 2],
    "transformer.resblocks.0.attn.in_proj_bias": [7],
  });
  const group = (file: TensorFile) => [...groupTensors(file).components.values()][0]!;
  await rejects(() => componentFile(text, group(text)), /should hold query, key and value/);
  const even = await fileOf({
    "ln_final.weight": [2],
    "transformer.resblocks.0.attn.in_proj_weight": [6, 2],
    "transformer.resblocks.1.attn.in_proj_weight": [6, 2],
  });
  const view = componentFile(even, group(even));
  assert.equal([...view.entries.keys()].toSorted(), [
    "text_model.encoder.layers.0.self_attn.k_proj.weight",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_model.encoder.layers.0.self_attn.v_proj.weight",
    "text_model.final_layer_norm.weight",
  ]);
  const rows = Float32Array.from({ length: 12 }, (_, i) => i);
  const fused = await openSafetensors(
    bytesSource(
      "x.file",
      encodeSafetensors("x.file", {
        "transformer.resblocks.0.attn.in_proj_weight": { dtype: "F32", shape: [6, 2], data: rows },
        "transformer.resblocks.1.ln_1.bias": { dtype: "F32", shape: [1], data: rows.subarray(0, 1) },
      }),
    ),
  );
  const thirds = componentFile(fused, group(fused));
  assert.equal([...(await thirds.readFloat32("text_model.encoder.layers.0.self_attn.k_proj.weight"))], [4, 5, 6, 7]);
  assert.equal(thirds.entries.get("text_model.encoder.layers.0.self_attn.v_proj.weight")!.shape, [2, 2]);
  const vae = await fileOf({ "encoder.mid.attn_1.q.weight": [3, 3, 1, 1], "encoder.down.0.block.0.nin_shortcut.weight": [3, 3, 1, 1] });
  const vaeView = componentFile(vae, group(vae));
  assert.equal(vaeView.entries.get("encoder.mid_block.attentions.0.to_q.weight")!.shape, [3, 3]);
  assert.equal(vaeView.entries.get("encoder.down_blocks.0.resnets.0.conv_shortcut.weight")!.shape, [3, 3, 1, 1]);
  const partial = await fileOf({ "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [2, 2] });
  await rejects(() => componentFile(partial, group(partial)), /only some UNet tensors in original \(CompVis\) names/);
  assert.equal(
    [...componentFile(partial, group(partial), { layersPerBlock: [2, 2] }).entries.keys()],
    ["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"],
  );
  await rejects(() => componentFile(partial, group(partial), { layersPerBlock: [0, 2] }), /has no place in a UNet of 2 levels/);
});

test.run();
