/**
 * Configurations that a checkpoint does not bring along, from the shapes of its tensors, as JSON in diffusers' and transformers' form.
 *
 * Channels, levels, layers, attention positions, context width, kind of projection and vocabulary can be seen. What cannot, follows Stable
 * Diffusion's published configurations (v1-inference.yaml, v2-inference.yaml, v2-inference-v.yaml): 32 norm groups; 8 attention heads with
 * convolution projections (1.x), heads of 64 channels with linear ones (2.x); heads of 64 in the text encoder, quick GELU for CLIP's own
 * and exact GELU for OpenCLIP's of width 1024; VAE scaling factor 0.18215; betas scaled_linear from 0.00085 to 0.012.
 */
import { FormatError } from "../../formats/errors.ts";
import { requireEntry, type TensorFile } from "../../formats/tensor-file.ts";

export type Json = Readonly<Record<string, unknown>>;

export type PredictionType = "epsilon" | "v_prediction";

const NORM_GROUPS = 32;
const HEAD_WIDTH = 64;

/** For naming tensors, what cannot be seen does not matter: "names" lets sizes pass that Stable Diffusion's rules do not explain. */
export type Purpose = "use" | "names";

/** @throws FormatError if sizes do not fit Stable Diffusion's rules, saying which. */
function wanted(file: TensorFile, fits: boolean, what: string): void {
  if (!fits) {
    throw new FormatError(
      file.name,
      `${what}, so its configuration cannot be told from its shapes; give a folder with the model's config.json files`,
    );
  }
}

const sizesOf = (file: TensorFile, name: string): readonly number[] => requireEntry(file.name, file.entries, name).shape;

/** How many of `prefix.0`, `prefix.1`, ... there are. */
function count(file: TensorFile, prefix: string): number {
  const indices = new Set<string>();
  for (const name of file.entries.keys()) if (name.startsWith(`${prefix}.`)) indices.add(name.slice(prefix.length + 1).split(".")[0]!);
  return indices.size;
}

/**
 * UNet2DConditionModel's configuration. @param unet a whole UNet in diffusers' names
 * @param sampleSize latent height and width that it was made for
 * @param purpose "names": only the tensors' names and shapes are wanted
 * @throws FormatError if the UNet is not whole or not of Stable Diffusion's kind
 */
export function inferUNetConfig(unet: TensorFile, sampleSize: number, purpose: Purpose = "use"): Json {
  const lenient = purpose === "names";
  const levels = count(unet, "down_blocks");
  wanted(unet, levels > 0 && count(unet, "up_blocks") === levels, `it has ${levels} down blocks and ${count(unet, "up_blocks")} up blocks`);
  const channels = Array.from({ length: levels }, (_, i) => sizesOf(unet, `down_blocks.${i}.resnets.0.conv1.weight`)[0]!);
  wanted(
    unet,
    lenient || channels.every((c) => c % NORM_GROUPS === 0),
    `its levels have ${channels.join(", ")} channels, not all multiples of ${NORM_GROUPS}`,
  );
  const cross = (side: "down" | "up", i: number): boolean => count(unet, `${side}_blocks.${i}.attentions`) > 0;
  const first = [...unet.entries.keys()].find((name) => /^(down|up)_blocks\.\d+\.attentions\.\d+\.proj_in\.weight$/.test(name));
  const linear = first !== undefined && sizesOf(unet, first).length === 2;
  wanted(
    unet,
    lenient || !linear || channels.every((c) => c % HEAD_WIDTH === 0),
    `its levels have ${channels.join(", ")} channels, not all multiples of the head width ${HEAD_WIDTH}`,
  );
  const depths = channels.map((_, i) => Math.max(1, count(unet, `down_blocks.${i}.attentions.0.transformer_blocks`)));
  return {
    _class_name: "UNet2DConditionModel",
    sample_size: sampleSize,
    in_channels: sizesOf(unet, "conv_in.weight")[1],
    out_channels: sizesOf(unet, "conv_out.weight")[0],
    block_out_channels: channels,
    layers_per_block: channels.map((_, i) => count(unet, `down_blocks.${i}.resnets`)),
    down_block_types: channels.map((_, i) => (cross("down", i) ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: channels.map((_, i) => (cross("up", i) ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    mid_block_type: "UNetMidBlock2DCrossAttn",
    cross_attention_dim: sizesOf(unet, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")[1],
    attention_head_dim: lenient ? 1 : linear ? channels.map((c) => c / HEAD_WIDTH) : 8,
    use_linear_projection: linear,
    transformer_layers_per_block: depths,
    norm_num_groups: lenient ? 1 : NORM_GROUPS,
    norm_eps: 1e-5,
    act_fn: "silu",
    flip_sin_to_cos: true,
    freq_shift: 0,
    ...additionOf(unet),
  };
}

/** Width of one size number's sinusoid in the published SDXL; the shapes show only the sum of pooled text and six of them. */
const SINUSOID_WIDTH = 256;

/** What SDXL adds to the time embedding; nothing of others. */
function additionOf(unet: TensorFile): Json {
  const embedding = unet.entries.get("add_embedding.linear_1.weight");
  if (!embedding) return {};
  return {
    addition_embed_type: "text_time",
    addition_time_embed_dim: SINUSOID_WIDTH,
    projection_class_embeddings_input_dim: embedding.shape[1],
  };
}

/** AutoencoderKL's configuration. @param vae a whole VAE in diffusers' names @throws FormatError as inferUNetConfig */
export function inferVaeConfig(vae: TensorFile, purpose: Purpose = "use"): Json {
  const lenient = purpose === "names";
  const levels = count(vae, "encoder.down_blocks");
  wanted(
    vae,
    levels > 0 && count(vae, "decoder.up_blocks") === levels,
    `it has ${levels} levels down and ${count(vae, "decoder.up_blocks")} up`,
  );
  const channels = Array.from({ length: levels }, (_, i) => sizesOf(vae, `encoder.down_blocks.${i}.resnets.0.conv1.weight`)[0]!);
  wanted(
    vae,
    lenient || channels.every((c) => c % NORM_GROUPS === 0),
    `its levels have ${channels.join(", ")} channels, not all multiples of ${NORM_GROUPS}`,
  );
  return {
    _class_name: "AutoencoderKL",
    in_channels: sizesOf(vae, "encoder.conv_in.weight")[1],
    out_channels: sizesOf(vae, "decoder.conv_out.weight")[0],
    latent_channels: sizesOf(vae, "decoder.conv_in.weight")[1],
    block_out_channels: channels,
    layers_per_block: count(vae, "encoder.down_blocks.0.resnets"),
    down_block_types: channels.map(() => "DownEncoderBlock2D"),
    up_block_types: channels.map(() => "UpDecoderBlock2D"),
    norm_num_groups: lenient ? 1 : NORM_GROUPS,
    scaling_factor: 0.18215,
    act_fn: "silu",
  };
}

/** CLIPTextModel's configuration. @param text a whole text encoder in transformers' names @throws FormatError as inferUNetConfig */
export function inferTextConfig(text: TensorFile, purpose: Purpose = "use"): Json {
  const lenient = purpose === "names";
  const [vocabulary, width] = sizesOf(text, "text_model.embeddings.token_embedding.weight") as [number, number];
  wanted(text, lenient || width % HEAD_WIDTH === 0, `its width ${width} is not a multiple of the head width ${HEAD_WIDTH}`);
  return {
    model_type: "clip_text_model",
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: sizesOf(text, "text_model.encoder.layers.0.mlp.fc1.weight")[0],
    num_hidden_layers: count(text, "text_model.encoder.layers"),
    num_attention_heads: width % HEAD_WIDTH === 0 ? width / HEAD_WIDTH : 1,
    max_position_embeddings: sizesOf(text, "text_model.embeddings.position_embedding.weight")[0],
    hidden_act: width === 1024 ? "gelu" : "quick_gelu",
    layer_norm_eps: 1e-5,
  };
}

/** CLIPTextModelWithProjection's, of SDXL's second text encoder. @throws FormatError as inferUNetConfig */
export function inferSecondTextConfig(text: TensorFile, purpose: Purpose = "use"): Json {
  return { ...inferTextConfig(text, purpose), hidden_act: "gelu", projection_dim: sizesOf(text, "text_projection.weight")[0] };
}

/** What SDXL's published configurations change of a VAE's: another scale, and float32 where weights are float16. */
export const XL_VAE: Json = { scaling_factor: 0.13025, force_upcast: true };

/** scheduler_config.json as published with SDXL. */
export function xlSchedulerConfig(prediction: PredictionType): Json {
  return {
    ...schedulerConfig(prediction), _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading", interpolation_type: "linear",
    use_karras_sigmas: false,
  };
}

/** scheduler_config.json as published with 1.x and 2.x. */
export function schedulerConfig(prediction: PredictionType): Json {
  return {
    _class_name: prediction === "epsilon" ? "PNDMScheduler" : "DDIMScheduler",
    num_train_timesteps: 1000, beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", trained_betas: null,
    prediction_type: prediction, set_alpha_to_one: false, steps_offset: 1, clip_sample: false, skip_prk_steps: true,
  };
}

/**
 * Above this standard deviation of the bias of the last transformer's first norm a 2.x UNet counts as v-prediction (ComfyUI,
 * supported_models.py).
 */
const V_PREDICTION_DEVIATION = 0.09;

/**
 * Whether the UNet predicts the noise or the velocity. Shapes do not tell, so in this order: what the file says
 * (`modelspec.prediction_type`, a `v_pred` marker tensor); the noise for context widths other than 2.x's 1024 and for inpainting;
 * `global_step` 875000, which is 512-base-ema.ckpt, the noise (as diffusers);
 * the velocity if the biases of the last up transformer's `norm1` have a standard deviation above 0.09 (a statistical regularity of the
 * published 2.x models that ComfyUI relies on; not a certainty: the caller can say which).
 * @param file the whole checkpoint @param unet its UNet in diffusers' names
 */
export async function inferPredictionType(file: TensorFile, unet: TensorFile): Promise<PredictionType> {
  const said = (file.metadata["modelspec.prediction_type"] ?? "").toLowerCase();
  if (said === "epsilon") return "epsilon";
  if (said.startsWith("v") || file.entries.has("v_pred")) return "v_prediction";
  if (contextWidth(unet.entries.values()) !== 1024 || unet.entries.get("conv_in.weight")?.shape[1] !== 4) return "epsilon";
  if (file.metadata["global_step"] === "875000") return "epsilon";
  const last = [...unet.entries.keys()]
    .filter((name) => /^up_blocks\.\d+\.attentions\.\d+\.transformer_blocks\.0\.norm1\.bias$/.test(name))
    .toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .at(-1);
  if (last === undefined) return "epsilon";
  const bias = await unet.readFloat64(last);
  const mean = bias.reduce((sum, x) => sum + x, 0) / bias.length;
  const variance = bias.reduce((sum, x) => sum + (x - mean) ** 2, 0) / bias.length;
  return Math.sqrt(variance) > V_PREDICTION_DEVIATION ? "v_prediction" : "epsilon";
}

/** Width of the text encoding that a UNet attends to, by any tensor that reads it, in whatever names; undefined if there is none. */
export function contextWidth(tensors: Iterable<{ readonly name: string; readonly shape: readonly number[] }>): number | undefined {
  for (const { name, shape } of tensors) if (/attn2[._]to_(k|v)\.weight$/.test(name)) return shape[1];
  return undefined;
}
