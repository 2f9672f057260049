/** To which part of a Stable Diffusion model a tensor belongs, by its name alone. */
import { DIFFUSERS_UNET_BLOCKS, DIFFUSERS_UNET_ENDS, LDM_UNET } from "./unet.ts";
import { DIFFUSERS_VAE, LDM_VAE } from "./vae.ts";
import { OPENCLIP_TEXT, OPENCLIP_UNUSED, TRANSFORMERS_EMBEDDINGS, TRANSFORMERS_LAYERS } from "./text-encoder.ts";

/** The parts, by the folder names of diffusers. */
export type Component = "unet" | "text_encoder" | "text_encoder_2" | "vae";

/** Those of SDXL that a prompt goes through. */
export type TextComponent = Extract<Component, `text_encoder${string}`>;

/** Whether a component is one of the text encoders. */
export function isText(component: Component): component is TextComponent {
  return component === "text_encoder" || component === "text_encoder_2";
}

/**
 * Whose names: the original code's, diffusers' and transformers', or OpenCLIP's. A few VAE names are the same in the first two and count as
 * diffusers'.
 */
export type NameStyle = "CompVis" | "diffusers" | "OpenCLIP";

export interface Located {
  readonly component: Component;
  readonly style: NameStyle;
  /** The name without any prefix, as the patterns of its style know it. */
  readonly name: string;
}

/**
 * What published files put before the names: wrappers of training code (`module.`), attributes of the LDM model
 * (`model.diffusion_model.`, `first_stage_model.`, `cond_stage_model.transformer.`) and of its successor (`conditioner.embedders.0.`), of a
 * pipeline (`unet.`), and nesting.
 */
const PREFIXES = [
  "module.",
  "base_model.",
  "model.",
  "state_dict.",
  "diffusion_model.",
  "first_stage_model.",
  "cond_stage_model.",
  "conditioner.embedders.0.",
  "conditioner.embedders.1.",
  "transformer.",
  "unet.",
  "text_encoder.",
  "text_encoder_2.",
  "vae.",
  "clip_l.",
  "clip_h.",
  "clip_g.",
  "text_encoders.",
] as const;

/** What PyTorch's own wrappers call the module inside: torch.compile `_orig_mod.`, FSDP `_fsdp_wrapped_module.`, and others. */
const WRAPPER = /^_\w+\./;

/** Prefixes below which a text encoder is SDXL's second. */
const SECOND: ReadonlySet<string> = new Set(["conditioner.embedders.1.", "text_encoder_2.", "clip_g."]);

const STYLES: readonly (readonly [Component, NameStyle, RegExp])[] = [
  ["unet", "diffusers", DIFFUSERS_UNET_BLOCKS],
  ["unet", "diffusers", DIFFUSERS_UNET_ENDS],
  ["unet", "CompVis", LDM_UNET],
  ["vae", "diffusers", DIFFUSERS_VAE],
  ["vae", "CompVis", LDM_VAE],
  ["text_encoder", "diffusers", TRANSFORMERS_EMBEDDINGS],
  ["text_encoder", "diffusers", TRANSFORMERS_LAYERS],
  ["text_encoder", "OpenCLIP", OPENCLIP_TEXT],
  ["text_encoder", "OpenCLIP", OPENCLIP_UNUSED],
];

/** Where a tensor belongs, whatever prefixes stand before its name; undefined if it is not part of a Stable Diffusion model. */
export function locate(name: string): Located | undefined {
  let second = false;
  for (let rest = name; ; ) {
    for (const [component, style, pattern] of STYLES) {
      // Of the second text encoder the output projection is in use; the first one's is not.
      if (second && component === "text_encoder" && TEXT_PROJECTION.test(rest)) {
        return { component: "text_encoder_2", style: rest.endsWith(".weight") ? "diffusers" : "OpenCLIP", name: rest };
      }
      if (pattern.test(rest))
        return { component: second && component === "text_encoder" ? "text_encoder_2" : component, style, name: rest };
    }
    const prefix = PREFIXES.find((p) => rest.startsWith(p)) ?? WRAPPER.exec(rest)?.[0];
    if (prefix === undefined) return undefined;
    second ||= SECOND.has(prefix);
    rest = rest.slice(prefix.length);
  }
}

/**
 * Tensors that training leaves in a checkpoint and that a model does not need: the noise schedule's tables, the VAE's loss network,
 * optimizer and averaging state, position indices, the image half of a CLIP model.
 */
const LEFTOVERS = [
  /^(model\.)?(betas|alphas_cumprod(_prev)?|sqrt_\w+|log_one_minus_alphas_cumprod|posterior_\w+|logvar|lvlb_weights)$/,
  /^(model\.)?(scale_factor|v_pred|ztsnr)$|^denoiser\./,
  /^((first_stage_model\.)?loss\.|optimizer|lr_scheduler|callbacks\.|loops\.|model_ema\.(decay|num_updates)$)/,
  /^(vision_model|visual|visual_projection)\.|^(.*\.)?(text_projection(\.weight)?|logit_scale|position_ids|attn_mask)$/,
];

/** An output projection: transformers' and OpenCLIP's name, without any prefix. */
const TEXT_PROJECTION = /^text_projection(\.weight)?$/;

/** Whether a tensor can be left out without loss. */
export function isLeftover(name: string): boolean {
  return LEFTOVERS.some((pattern) => pattern.test(name)) && !isProjection(name);
}

/** Whether it is the output projection of SDXL's second text encoder. */
function isProjection(name: string): boolean {
  return /(^|\.)text_projection(\.weight)?$/.test(name) && locate(name)?.component === "text_encoder_2";
}
