/** What a file of tensors is, in words and for programs, from its names and shapes alone. */
import { isFloatDType } from "../../formats/dtype.ts";
import type { TensorEntry, TensorFile } from "../../formats/tensor-file.ts";
import { componentName, type Groups, styleName } from "./groups.ts";
import { contextWidth } from "./infer.ts";

export type FileKind = "checkpoint" | "unet" | "text_encoder" | "text_encoder_2" | "vae" | "low-rank" | "other";

export interface Identity {
  readonly kind: FileKind;
  /** To be put after "looks like", e.g. "a LoRA for SD 1.x (kohya names, rank 4: 192 UNet modules)". */
  readonly description: string;
  /** "SD 1.x", "SD 2.x", "SDXL" or the width in words; undefined if nothing shows it. */
  readonly version: string | undefined;
}

/** Kinds of files that are not part of a Stable Diffusion model. The first that fits wins. */
const OTHERS: readonly (readonly [string, RegExp])[] = [
  ["a ControlNet", /^(control_model|controlnet_(cond_embedding|down_blocks|mid_block))\./],
  [
    "a LoRA of cloneofsimo's lora_diffusion, whose modules have numbers in place of names, so that their places cannot be known " +
      "(convert it with lora_diffusion's own tools)",
    /^(unet|text_encoder):\d+:(up|down)$/,
  ],
  [
    "a sparse autoencoder: a defence that works while a picture is drawn, in code, and changes no weight, so that it cannot be laid " +
      "over a model",
    /^(W_enc|W_dec|b_enc|b_dec|pre_bias|latent_bias|(sae\.)?(encoder|decoder)\.(weight|bias))$/,
  ],
  ["a hypernetwork", /^\d+\.\d+\.linear/],
  ["a textual inversion embedding", /^(string_to_param\.|emb_params$|clip_[lg]$|<.*>$)/],
  ["a ResNet image classifier", /^(resnet\.(embedder|encoder)|layer[1-4]\.\d+\.conv1)\./],
  ["a vision transformer image classifier", /^(vit\.)?(embeddings\.cls_token|encoder\.layer\.\d+\.attention|blocks\.\d+\.attn)/],
  ["an image encoder of CLIP", /^(vision_model\.|visual\.)/],
  [
    "a Flux or Stable Diffusion 3 transformer",
    /^(model\.diffusion_model\.)?(double_blocks|joint_blocks|transformer_blocks\.\d+\.attn\.add_)/,
  ],
  ["optimizer state of a training", /^optimizer/],
];

/** The version of Stable Diffusion that a width of text encoding belongs to. */
export function versionOfWidth(width: number | undefined): string | undefined {
  if (width === undefined) return undefined;
  return { 768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL refiner" }[width] ?? `a model of context width ${width}`;
}

/** @param groups groupTensors of the file */
export function identify(file: TensorFile, groups: Groups): Identity {
  const version = versionOf(file, groups);
  const of = version === undefined ? "" : ` of ${version}`;
  const { components } = groups;
  if (file.entries.size === 0) return { kind: "other", description: "an empty file", version };
  const other = OTHERS.find(([, pattern]) => [...groups.unknown, ...groups.leftovers].some((name) => pattern.test(name)));
  if (other?.[0] === "a ControlNet") return { kind: "other", description: other[0], version };
  if (groups.lowRank.size > 0) return { kind: "low-rank", description: describeLowRank(file, groups, version), version };
  if (components.has("unet") && (components.has("vae") || components.has("text_encoder"))) {
    const parts = (["unet", "text_encoder", "text_encoder_2", "vae"] as const).filter((c) => components.has(c)).map(componentName);
    const style = components.get("unet")!.style;
    const ema = groups.ema.size > 0 ? "; the UNet also as averaged (EMA) weights" : "";
    return { kind: "checkpoint", description: `a single-file checkpoint${of} (${styleName(style)}: ${parts.join(", ")}${ema})`, version };
  }
  const [group] = components.values();
  if (group && [...group.tensors.values()].every(({ dtype }) => !isFloatDType(dtype))) {
    return {
      kind: "other",
      description: `whole numbers under the names of a ${componentName(group.component)}${of} (a mask?), no weights`,
      version,
    };
  }
  if (group) return { kind: group.component, description: `a ${componentName(group.component)}${of} (${styleName(group.style)})`, version };
  const names = [...file.entries.keys()].slice(0, 3).join(", ");
  return {
    kind: "other",
    description: other?.[0] ?? `tensors of an unknown kind (${names}${file.entries.size > 3 ? ", ..." : ""})`,
    version,
  };
}

function versionOf(file: TensorFile, groups: Groups): string | undefined {
  const entries = [...file.entries.values()];
  if (
    entries.some(({ name }) =>
      /(^|\.)(add_embedding\.linear_1|label_emb\.0\.0|conditioner\.embedders\.1|text_encoder_2)\b|^(lora|lycoris)_te2_/.test(name),
    )
  ) {
    const width = contextWidth(entries);
    return width === 1024 ? "SD 2.x unCLIP" : width === 1280 ? versionOfWidth(width) : "SDXL";
  }
  const width = contextWidth(entries) ?? lowRankWidth(groups, file) ?? textWidth(groups);
  return versionOfWidth(width);
}

function textWidth({ components }: Groups): number | undefined {
  const tensors = components.get("text_encoder")?.tensors;
  if (!tensors) return undefined;
  for (const [name, { shape }] of tensors) if (/(layer_norm\d|final_layer_norm|ln_\d|ln_final)\.weight$/.test(name)) return shape[0];
  return undefined;
}

/** The context width that low-rank modules of cross attention take in. */
function lowRankWidth({ lowRank }: Groups, file: TensorFile): number | undefined {
  for (const pattern of [/attn2[._]to_[kv]$/, /self_attn[._][qkv]_proj$/]) {
    for (const [name, { module, role }] of lowRank) {
      if ((role === "down" || role === "hada_w1_b") && pattern.test(module)) return file.entries.get(name)?.shape[1];
    }
  }
  return undefined;
}

function describeLowRank(file: TensorFile, { lowRank }: Groups, version: string | undefined): string {
  const modules = { unet: new Set<string>(), text_encoder: new Set<string>(), text_encoder_2: new Set<string>() };
  const ranks = new Set<number>();
  const others = new Set<string>();
  for (const [name, { component, module, role, suffix }] of lowRank) {
    modules[component ?? "unet"].add(module);
    if (role === "down") ranks.add(entryRank(file.entries.get(name)));
    if (role === "other") others.add(suffix);
  }
  const styles = [...new Set([...lowRank.values()].map(({ style }) => style))];
  const counts = (["unet", "text_encoder", "text_encoder_2"] as const)
    .filter((c) => modules[c].size > 0)
    .map((c) => `${modules[c].size} ${componentName(c)} modules`);
  const sorted = [...ranks].toSorted((a, b) => a - b);
  const rank = sorted.length === 0 ? "" : `, rank ${sorted.length > 3 ? `${sorted[0]} to ${sorted.at(-1)}` : sorted.join(", ")}`;
  const kind = sorted.length === 1 && sorted[0] === 1 ? "a low-rank file of rank 1, as SPM erasers are," : "a LoRA";
  const form = others.size > 0 ? `; with ${[...others].slice(0, 3).join(", ")}, a form that is not a plain product of two matrices` : "";
  return `${kind} for ${version ?? "an unknown model"} (${styles.join(" and ")} names${rank}: ${counts.join(", ")}${form})`;
}

function entryRank(entry: TensorEntry | undefined): number {
  return entry?.shape[0] ?? 0;
}
