/**
 * The layouts in which the methods' authors publish what their code makes: which tensors, under which names, in which container.
 * Numbers are float32, as the authors' code computes them.
 * Source: erasing @a2189e9 train-esd.py (`save_model`), esd_sd.py of 2025 (`save_file(esd_param_dict)`), unified-concept-editing
 * train_erase.py and uce_sd_erase.py, AdvUnlearn @9d23124 utils/util.py:475-480, concept-ablation diffusers/train.py (`save_progress`),
 * Forget-Me-Not src/train_attn.py (`pipeline.save_pretrained`).
 */
import { torchPieces, type TorchTree } from "../../formats/pickle/pytorch-writer.ts";
import { type TensorOnDemand, safetensorsPieces } from "../../formats/safetensors-writer.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { originalUNetNames } from "../../loading/names/unet-original.ts";
import { componentName } from "../../loading/names/groups.ts";
import type { Parameters } from "../../nn/parameters.ts";
import { UsageError } from "../../runtime/errors.ts";
import { type ModelFolder, componentConfig, componentCopies } from "./model-folder.ts";
import type { OutputFile } from "./output-file.ts";
import { type LowRankModule, type LowRankNames, lowRankTensors } from "./low-rank-names.ts";

/** What an erasing method can change. */
export type ChangedComponent = "unet" | "text_encoder" | "low-rank";

/** What a layout is, and what it can hold. */
interface LayoutKind {
  /** In one sentence. */
  readonly help: string;
  /** The ending of the file; "" is a folder. */
  readonly ending: ".pt" | ".bin" | ".safetensors" | "";
  /** What it can hold. */
  readonly of: readonly ChangedComponent[];
}

/** The layouts by name. */
export const LAYOUTS = {
  "unet-pt": { help: "a whole UNet as a PyTorch state dict, in diffusers' names", ending: ".pt", of: ["unet"] },
  "unet-pt-compvis": { help: "a whole UNet as a PyTorch state dict, in the original (CompVis) names", ending: ".pt", of: ["unet"] },
  "partial-safetensors": { help: "the trained tensors only, in diffusers' names", ending: ".safetensors", of: ["unet", "text_encoder"] },
  "delta-bin": { help: "{'unet': the trained tensors}, PyTorch, in diffusers' names", ending: ".bin", of: ["unet"] },
  "text-encoder-pt": {
    help: "AdvUnlearn's wrapper: the whole text encoder below text_encoder. and its modules again, PyTorch",
    ending: ".pt",
    of: ["text_encoder"],
  },
  "component-folder": { help: "a folder with the UNet or text encoder as its library saves it", ending: "", of: ["unet", "text_encoder"] },
  "pipeline-folder": {
    help: "a whole model as diffusers saves it, the parts that are not trained copied",
    ending: "",
    of: ["unet", "text_encoder"],
  },
  "lora-safetensors": { help: "low-rank factors under diffusers' names", ending: ".safetensors", of: ["low-rank"] },
  "lora-processor": { help: "low-rank factors under the names of diffusers up to 0.21", ending: ".safetensors", of: ["low-rank"] },
  "lora-peft": { help: "low-rank factors under peft's names", ending: ".safetensors", of: ["low-rank"] },
  "lora-kohya": { help: "low-rank factors with their alpha under kohya's names", ending: ".safetensors", of: ["low-rank"] },
} as const satisfies Readonly<Record<string, LayoutKind>>;

export type LayoutName = keyof typeof LAYOUTS;
export const LAYOUT_NAMES = Object.keys(LAYOUTS) as LayoutName[];

/** A tensor with new numbers, which are read when they are written. */
export interface ChangedTensor {
  /** `unet` or `text_encoder`. */
  readonly component: string;
  /** The checkpoint's. */
  readonly name: string;
  readonly shape: readonly number[];
  /** In the checkpoint's order. */
  readonly read: () => Promise<Float32Array<ArrayBuffer>>;
}

/** What an erasing method changed. */
export interface Changed {
  readonly tensors?: readonly ChangedTensor[] | undefined;
  readonly lowRank?: { readonly modules: readonly LowRankModule[]; readonly alpha: number } | undefined;
}

/** Under which names a layout has low-rank factors. */
const LOW_RANK_NAMES: Partial<Record<LayoutName, LowRankNames>> = {
  "lora-safetensors": "diffusers", "lora-processor": "processor", "lora-peft": "peft", "lora-kohya": "kohya",
};

/**
 * The files of a layout, in the order in which they are to be written.
 * @param out what the output is called, for errors
 * @param base where the model was loaded from: folders take its configurations, "pipeline-folder" its other parts
 * @throws UsageError if the layout cannot hold what was changed, or needs a base in diffusers' layout
 */
export async function outputFiles(
  layout: LayoutName,
  model: StableDiffusion,
  changed: Changed,
  out: string,
  base?: ModelFolder,
): Promise<OutputFile[]> {
  const parts = new Set([...(changed.tensors ?? []).map(({ component }) => component), ...(changed.lowRank ? ["low-rank"] : [])]);
  requireLayout(layout, [...parts] as ChangedComponent[]);
  const one = (pieces: OutputFile["pieces"]): OutputFile[] => [{ name: "", pieces }];
  const names = LOW_RANK_NAMES[layout];
  if (names) {
    const { modules, alpha } = changed.lowRank!;
    const { tensors, metadata } = lowRankTensors(names, modules, alpha);
    const own = Object.fromEntries([...tensors].map(([name, { data, shape }]) => [name, onDemand(shape, async () => data)]));
    return one(safetensorsPieces(out, own, metadata));
  }
  const component = parts.has("unet") ? "unet" : "text_encoder";
  const trained = new Map(changed.tensors!.map(({ name, shape, read }) => [name, onDemand(shape, read)]));
  const { parameters } = component === "unet" ? model.parts.unet : model.parts.textEncoder;
  const folder = async (below: string): Promise<OutputFile> => {
    const weights = `${below}${component === "unet" ? "diffusion_pytorch_model" : "model"}.safetensors`;
    const tensors = Object.fromEntries(whole(parameters, trained));
    return { name: weights, pieces: safetensorsPieces(`${out}/${weights}`, tensors, { format: "pt" }) };
  };
  switch (layout) {
    case "delta-bin":
      return one(torchPieces(out, { unet: Object.fromEntries(trained) }));
    case "unet-pt":
      return one(torchPieces(out, whole(parameters, trained)));
    case "unet-pt-compvis": {
      const originals = originalUNetNames(parameters.source.names(), model.parts.unet.config);
      const tensors = [...whole(parameters, trained)].map(([name, t]) => [`model.diffusion_model.${originals.get(name)!}`, t] as const);
      return one(torchPieces(out, new Map(tensors)));
    }
    case "text-encoder-pt":
      return one(torchPieces(out, wrapped(whole(parameters, trained), model.parts.textEncoder.config.maxLength)));
    case "component-folder": {
      const config = component === "unet" ? await unetJson(base) : await textEncoderJson(model, base);
      return [{ name: "config.json", pieces: textPieces(config) }, await folder("")];
    }
    case "pipeline-folder":
      if (!base) throw new UsageError(`layout ${layout} needs a model in a folder in diffusers' layout, whose other parts it copies`);
      return [...(await componentCopies(base, component)), await folder(`${component}/`)];
    default:
      return one(safetensorsPieces(out, Object.fromEntries(trained)));
  }
}

/** @param changed what was, or will be, changed @throws UsageError if the layout cannot hold it */
export function requireLayout(layout: LayoutName, changed: readonly ChangedComponent[]): void {
  const can: readonly ChangedComponent[] = LAYOUTS[layout].of;
  if (changed.length === 1 && can.includes(changed[0]!)) return;
  const named = (parts: readonly ChangedComponent[]): string[] =>
    parts.map((part) => (part === "low-rank" ? "low-rank factors" : `${componentName(part)} weights`));
  const fitting = LAYOUT_NAMES.filter((name) => changed.every((part) => (LAYOUTS[name].of as readonly string[]).includes(part)));
  throw new UsageError(
    `layout ${layout} holds ${named(can).join(" or ")}, but what is trained is ${named(changed).join(" and ") || "nothing"}; ` +
      `choose ${fitting.join(", ") || "another method"}`,
  );
}

function onDemand(shape: readonly number[], read: () => Promise<Float32Array<ArrayBuffer>>): TensorOnDemand {
  const bytes = async (): Promise<Uint8Array<ArrayBuffer>> => {
    const data = await read();
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
  return { dtype: "F32", shape, read: bytes };
}

/** All tensors of a component: the trained ones, and the others as its file has them. */
function whole(parameters: Parameters, trained: ReadonlyMap<string, TensorOnDemand>): Map<string, TensorOnDemand> {
  const own = (name: string): TensorOnDemand => onDemand(parameters.storedShape(name), () => parameters.source.readFloat32(name));
  return new Map([...parameters.source.names()].map((name) => [name, trained.get(name) ?? own(name)]));
}

/** AdvUnlearn's module holds the encoder and takes its parts as its own: every tensor but the encoder's own name for it twice. */
function wrapped(encoder: ReadonlyMap<string, TensorOnDemand>, positions: number): Map<string, TorchTree> {
  const ids = BigInt64Array.from({ length: positions }, (_, i) => BigInt(i));
  const positionIds: TensorOnDemand = { dtype: "I64", shape: [1, positions], read: () => new Uint8Array(ids.buffer) };
  const parts = new Map<string, TensorOnDemand>([["text_model.embeddings.position_ids", positionIds], ...encoder]);
  const own = (name: string): string => name.replace(/^text_model\./, "").replace(/^embeddings\./, "embedding.");
  return new Map<string, TorchTree>([
    ...[...parts].map(([name, t]) => [`text_encoder.${name}`, t] as const),
    ...[...parts].map(([name, t]) => [own(name), t] as const),
  ]);
}

/** config.json of the base's UNet, which alone has all that diffusers wants to know. @throws UsageError without one */
async function unetJson(base: ModelFolder | undefined): Promise<string> {
  const own = base && (await componentConfig(base, "unet"));
  if (!own) throw new UsageError("layout component-folder needs a model in a folder in diffusers' layout, whose configuration it copies");
  return own;
}

/** config.json of transformers' CLIPTextModel: the base's, or what is known of it. */
async function textEncoderJson(model: StableDiffusion, base: ModelFolder | undefined): Promise<string> {
  const own = base && (await componentConfig(base, "text_encoder"));
  if (own) return own.replace(/("(?:torch_)?dtype"\s*:\s*)"\w+"/, '$1"float32"');
  const { vocabularySize, hiddenSize, intermediateSize, layers, heads, maxLength, epsilon, activation } = model.parts.textEncoder.config;
  const [bos, eos] = model.tokenizer.encode("");
  const known = {
    architectures: ["CLIPTextModel"],
    model_type: "clip_text_model",
    vocab_size: vocabularySize,
    hidden_size: hiddenSize,
    intermediate_size: intermediateSize,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    max_position_embeddings: maxLength,
    layer_norm_eps: epsilon,
    hidden_act: activation === "quickGelu" ? "quick_gelu" : "gelu",
    bos_token_id: bos,
    eos_token_id: eos,
    projection_dim: hiddenSize,
    torch_dtype: "float32",
  };
  return `${JSON.stringify(known, null, 2)}\n`;
}

async function* textPieces(text: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield new TextEncoder().encode(text);
}
