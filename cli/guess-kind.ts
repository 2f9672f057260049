/** What a set of tensor names looks like, by the names that only one kind of checkpoint has. The first rule that fits wins. */
const RULES: readonly (readonly [string, readonly RegExp[]])[] = [
  ["LoRA (low-rank weight differences)", [/(lora_up|lora_down|lora_A|lora_B|lora\.up|lora\.down)\b|\.hada_w1_a$/]],
  ["ControlNet", [/controlnet_(cond_embedding|down_blocks|mid_block)/]],
  ["single-file Stable Diffusion checkpoint (original names: UNet, text encoder and VAE in one)", [/^model\.diffusion_model\./, /^(cond_stage_model|first_stage_model|conditioner)\./]],
  ["UNet of a Stable Diffusion model (original names)", [/^(model\.diffusion_model\.)?(input_blocks|middle_block|output_blocks)\./]],
  ["UNet (diffusers, UNet2DConditionModel)", [/(^|\.)down_blocks\.\d+\./, /(^|\.)up_blocks\.\d+\./, /(^|\.)time_embedding\./]],
  ["part of a UNet (diffusers), cross-attention", [/attn2\.to_(q|k|v|out)/]],
  ["part of a UNet (diffusers)", [/(^|\.)(down_blocks|up_blocks|mid_block)\.(\d+\.)?(resnets|attentions)\./]],
  ["VAE (diffusers, AutoencoderKL)", [/^encoder\.(conv_in|down_blocks)/, /^decoder\.(conv_in|up_blocks)/]],
  ["VAE (original names)", [/^(first_stage_model\.)?encoder\.down\.\d/, /^(first_stage_model\.)?decoder\.up\.\d/]],
  ["CLIP model (text and vision encoders)", [/text_model\.encoder\./, /vision_model\.encoder\./]],
  ["text encoder (transformers, CLIPTextModel)", [/text_model\.(embeddings|encoder|final_layer_norm)/]],
  ["textual inversion embedding", [/^(string_to_param\.|emb_params$|clip_l$)|^<.*>$/]],
  ["image classifier (ResNet)", [/^resnet\.(embedder|encoder)\./]],
  ["image classifier (vision transformer)", [/^vit\.(embeddings|encoder)\./]],
  ["training checkpoint (with optimizer state)", [/^optimizer_states?\./]],
];

/** A sentence for people; "tensors of an unknown kind" if no rule fits. */
export function guessKind(names: readonly string[]): string {
  if (names.length === 0) return "an empty file";
  return RULES.find(([, patterns]) => patterns.every((p) => names.some((n) => p.test(n))))?.[0] ?? "tensors of an unknown kind";
}
