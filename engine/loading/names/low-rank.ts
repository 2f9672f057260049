/**
 * Names of low-rank files: LoRA as kohya's scripts, diffusers and PEFT write them, and erasers of the SPM kind, which are kohya's with rank
 * 1.
 * A module W of the model gets W + strength * (alpha / rank) * up * down.
 * Source: kohya-ss/sd-scripts networks/lora.py; diffusers loaders (lora.py, attention processors); github.com/Con6924/SPM.
 */
import type { Component } from "./locate.ts";
import { unetName, type UNetLayout } from "./unet.ts";

/**
 * What a tensor of a low-rank file is to its module: a factor of LoRA (`down`, `mid`, `up`), LoHa (`hada_`) or LoKr (`lokr_`), their
 * `alpha`, DoRA's `magnitude`, a whole difference of weight or bias (`diff`, `diff_b`), or of a norm's (`w_norm`, `b_norm`). "unused": what
 * diffusers 0.16 saved beside a text encoder's modules and never read. "other": a form that is known and not supported (OFT, IA3, GLoRA).
 */
export type LowRankRole =
  "down" | "up" | "mid" | "alpha" | "magnitude" | "diff" | "diff_b" | "w_norm" | "b_norm" | Factor | "unused" | "other";

export const FACTORS = [
  "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
  "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
] as const;
/** A factor of LoHa or LoKr. */
export type Factor = (typeof FACTORS)[number];

/** What low-rank modules change. */
export type LowRankComponent = Exclude<Component, "vae">;

export interface LowRankName {
  /** Undefined if the name does not say: older diffusers files hold only UNet modules, without a prefix. */
  readonly component: LowRankComponent | undefined;
  /** Module path; with "_" for every dot in kohya's files. */
  readonly module: string;
  readonly role: LowRankRole;
  /** What comes after the module path. */
  readonly suffix: string;
  readonly style: "kohya" | "diffusers";
}

const SUFFIXES: readonly (readonly [RegExp, LowRankRole])[] = [
  [/^(lora_down|lora_A|lora\.down|lora_linear_layer\.down|lora_layer\.down)(\.\w+)?\.weight$/, "down"],
  [/^(lora_up|lora_B|lora\.up|lora_linear_layer\.up|lora_layer\.up)(\.\w+)?\.weight$/, "up"],
  [/^lora_mid\.weight$/, "mid"],
  [/^alpha$/, "alpha"],
  [/^(dora_scale|lora_magnitude_vector(\.\w+)*)$/, "magnitude"],
  ...(["diff", "diff_b", "w_norm", "b_norm", ...FACTORS] as const).map((name) => [new RegExp(`^${name}$`), name] as const),
  [/^(oft_\w+|hada_\w+|lokr_\w+|set_weight|lora_embedding_[AB](\.\w+)*|on_input|[ab][12]\.weight|bias_\w+)$/, "other"],
];

/** A low-rank tensor's name taken apart, or undefined if it is an ordinary one. */
export function lowRankName(name: string): LowRankName | undefined {
  const kohya = /^(?:lora|lycoris)_(unet|te1?|te2)_([^.]+)\.(.+)$/.exec(name);
  if (kohya) {
    const [, part, module, suffix] = kohya as unknown as [string, string, string, string];
    return {
      component: part === "unet" ? "unet" : part === "te2" ? "text_encoder_2" : "text_encoder",
      module,
      role: roleOf(suffix) ?? "other",
      suffix,
      style: "kohya",
    };
  }
  const [, part, rest] =
    /^(unet\.|(?:model\.)?diffusion_model\.|text_encoder(?:_2)?\.|(?:text_encoders\.)?clip_[lg]\.(?:transformer\.)?)?(.*)$/s.exec(name)!;
  const bare = rest!.replace(/^base_model\.model\.(?=.)/, "");
  const component = part === undefined ? undefined : componentOf(part);
  // The attention processors of diffusers 0.12 to 0.20 kept their matrices beside the module: attn1.processor.to_q_lora.down.weight
  const beside = /^(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$/.exec(bare!);
  if (beside) {
    const [, path, which, role] = beside as unknown as [string, string, string, "down" | "up"];
    const inText = path.includes("self_attn");
    // diffusers 0.16 gave each projection of a text encoder's attention a module with all four, of which it read the projection's own
    const own = /^(.+\.self_attn)\.(q|k|v|out)_proj$/.exec(path);
    if (own) {
      const used = own[2] === which;
      return {
        component: component ?? "text_encoder",
        module: path,
        role: used ? role : "unused",
        suffix: `to_${which}_lora.${role}.weight`,
        style: "diffusers",
      };
    }
    const layer = inText ? `${which}_proj` : which === "out" ? "to_out.0" : `to_${which}`;
    return {
      component: component ?? (inText ? "text_encoder" : undefined),
      module: `${path}.${layer}`,
      role,
      suffix: `to_${which}_lora.${role}.weight`,
      style: "diffusers",
    };
  }
  for (let dot = bare!.indexOf("."); dot > 0; dot = bare!.indexOf(".", dot + 1)) {
    const suffix = bare!.slice(dot + 1);
    const role = roleOf(suffix);
    if (role !== undefined) {
      const module = bare!.slice(0, dot);
      return {
        component: component ?? (module.startsWith("text_model.") ? "text_encoder" : undefined),
        module,
        role,
        suffix,
        style: "diffusers",
      };
    }
  }
  return undefined;
}

function componentOf(part: string): LowRankComponent {
  if (/^(unet|.*diffusion_model)\.$/.test(part)) return "unet";
  return /^text_encoder_2\.|clip_g\./.test(part) ? "text_encoder_2" : "text_encoder";
}

function roleOf(suffix: string): LowRankRole | undefined {
  return SUFFIXES.find(([pattern]) => pattern.test(suffix))?.[1];
}

/**
 * Finds the weight tensors that low-rank modules are about.
 * @param tensors names of the component's tensors, as diffusers has them
 * @param layout for files that flatten the original code's UNet names (`input_blocks_4_1_...`)
 */
export function lowRankTargets(tensors: Iterable<string>, layout?: UNetLayout): (module: string) => string | undefined {
  const byFlatName = new Map<string, string>();
  for (const tensor of tensors) if (tensor.endsWith(".weight")) byFlatName.set(flatten(tensor.slice(0, -".weight".length)), tensor);
  return (module) => {
    const flat = flatten(module);
    const direct = byFlatName.get(flat) ?? byFlatName.get(`text_model_${flat}`);
    if (direct !== undefined || layout === undefined) return direct;
    const original = unetName(`${unflattenLdm(flat)}.weight`, layout);
    return original === undefined ? undefined : byFlatName.get(flatten(original.slice(0, -".weight".length)));
  };
}

function flatten(path: string): string {
  return path.replaceAll(".", "_");
}

/** Puts the dots back where the map of UNet names looks for them. */
function unflattenLdm(flat: string): string {
  return flat
    .replace(/^(input_blocks|output_blocks)_(\d+)_(\d+)(?=_|$)/, "$1.$2.$3")
    .replace(/^(middle_block|time_embed|out)_(\d+)(?=_|$)/, "$1.$2")
    .replace(/^((?:input_blocks|output_blocks|middle_block)[.\d]+)_/, "$1.")
    .replace(/(in_layers|out_layers|emb_layers)_(\d+)$/, "$1.$2");
}
