/**
 * Names of low-rank files: LoRA as kohya's scripts, diffusers and PEFT write them, and erasers of the SPM kind, which are kohya's with rank 1.
 * A module W of the model gets W + strength * (alpha / rank) * up * down.
 * Source: kohya-ss/sd-scripts networks/lora.py; diffusers loaders (lora.py, attention processors); github.com/Con6924/SPM.
 */
import { unetName, type UNetLayout } from "./unet.ts";

/** What a tensor of a low-rank file is to its module. "other": a form that is not a plain product (LoHa, LoKr, DoRA...). */
export type LowRankRole = "down" | "up" | "alpha" | "other";

export interface LowRankName {
  /** Undefined if the name does not say: older diffusers files hold only UNet modules, without a prefix. */
  readonly component: "unet" | "text_encoder" | undefined;
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
  [/^alpha$/, "alpha"],
  [/^(lora_mid\.weight|hada_\w+|lokr_\w+|oft_\w+|dora_scale|lora_magnitude_vector(\.\w+)*|diff(_b)?|lora_embedding_[AB](\.\w+)*|on_input|a1\.weight|bias_\w+)$/, "other"],
];

/** A low-rank tensor's name taken apart, or undefined if it is an ordinary one. */
export function lowRankName(name: string): LowRankName | undefined {
  const kohya = /^(?:lora|lycoris)_(unet|te1?|te2)_([^.]+)\.(.+)$/.exec(name);
  if (kohya) {
    const [, part, module, suffix] = kohya as unknown as [string, string, string, string];
    return { component: part === "unet" ? "unet" : "text_encoder", module, role: roleOf(suffix) ?? "other", suffix, style: "kohya" };
  }
  const [, part, bare] = /^(unet\.|text_encoder\.)?(?:base_model\.model\.)?(.+)$/.exec(name)!;
  const component = part === undefined ? undefined : (part.slice(0, -1) as "unet" | "text_encoder");
  // The attention processors of diffusers 0.12 to 0.20 kept their matrices beside the module: attn1.processor.to_q_lora.down.weight
  const beside = /^(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$/.exec(bare!);
  if (beside) {
    const [, path, which, role] = beside as unknown as [string, string, string, "down" | "up"];
    const inText = path.includes("self_attn");
    const layer = inText ? `${which}_proj` : which === "out" ? "to_out.0" : `to_${which}`;
    return { component: component ?? (inText ? "text_encoder" : undefined), module: `${path}.${layer}`, role, suffix: `to_${which}_lora.${role}.weight`, style: "diffusers" };
  }
  for (let dot = bare!.indexOf("."); dot > 0; dot = bare!.indexOf(".", dot + 1)) {
    const suffix = bare!.slice(dot + 1);
    const role = roleOf(suffix);
    if (role !== undefined) {
      const module = bare!.slice(0, dot);
      return { component: component ?? (module.startsWith("text_model.") ? "text_encoder" : undefined), module, role, suffix, style: "diffusers" };
    }
  }
  return undefined;
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
