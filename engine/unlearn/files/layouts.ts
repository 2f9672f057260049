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
import type { NDArray } from "../../nn/array.ts";
import type { Parameters } from "../../nn/parameters.ts";
import { UsageError } from "../../runtime/errors.ts";
import { type ModelFolder, componentConfig, componentCopies } from "./model-folder.ts";
import type { OutputFile } from "./output-file.ts";
import { type LowRankModule, type LowRankNames, lowRankTensors } from "./low-rank-names.ts";

export type ChangedComponent = "unet" | "text_encoder";

/** What a layout is, and what it can hold. */
interface LayoutKind {
  /** In one sentence. */
  readonly help: string;
  /** The ending of the file; "" is a folder. */
  readonly ending: ".pt" | ".bin" | ".safetensors" | "";
  readonly component: ChangedComponent | "low-rank";
}

/** The layouts by name. */
export const LAYOUTS = {
  "unet-pt": { help: "a whole UNet as a PyTorch state dict, in diffusers' names", ending: ".pt", component: "unet" },
  "unet-pt-compvis": { help: "a whole UNet as a PyTorch state dict, in the original (CompVis) names", ending: ".pt", component: "unet" },
  "unet-partial": { help: "the trained UNet tensors only, safetensors, in diffusers' names", ending: ".safetensors", component: "unet" },
  "unet-delta": { help: "{'unet': the trained tensors}, PyTorch, in diffusers' names", ending: ".bin", component: "unet" },
  "text-encoder-folder": { help: "a folder with the whole text encoder, as transformers saves it", ending: "", component: "text_encoder" },
  "text-encoder-wrapper": {
    help: "AdvUnlearn's wrapper: the whole text encoder below text_encoder. and its modules again, PyTorch",
    ending: ".pt",
    component: "text_encoder",
  },
  "pipeline-folder": { help: "a whole model as diffusers saves it: the new UNet, and the other parts copied", ending: "", component: "unet" },
  "lora-processor": { help: "low-rank factors under the names of diffusers up to 0.21", ending: ".safetensors", component: "low-rank" },
  "lora-diffusers": { help: "low-rank factors under the names of later diffusers", ending: ".safetensors", component: "low-rank" },
  "lora-peft": { help: "low-rank factors under peft's names", ending: ".safetensors", component: "low-rank" },
  "lora-kohya": { help: "low-rank factors with their alpha under kohya's names", ending: ".safetensors", component: "low-rank" },
} as const satisfies Readonly<Record<string, LayoutKind>>;

export type LayoutName = keyof typeof LAYOUTS;
export const LAYOUT_NAMES = Object.keys(LAYOUTS) as LayoutName[];

/** What training changed, by the checkpoint's own names. */
export interface Changed {
  readonly weights?: ReadonlyMap<string, ReadonlyMap<string, NDArray>>;
  readonly lowRank?: { readonly modules: readonly LowRankModule[]; readonly alpha: number };
}

/**
 * The files of a layout, in the order in which they are to be written.
 * @param out what the output is called, for errors and for the name inside a PyTorch file
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
  const { component } = LAYOUTS[layout];
  if (component === "low-rank") return [{ name: "", pieces: lowRankPieces(layout, changed, out) }];
  const other = component === "unet" ? "text_encoder" : "unet";
  const trained = changed.weights?.get(component);
  if (!trained || changed.weights?.has(other)) throw unsuited(layout, component, changed);
  const { unet, textEncoder } = model.parts;
  switch (layout) {
    case "unet-partial":
      return [{ name: "", pieces: safetensorsPieces(out, byName(trained)) }];
    case "unet-delta":
      return [{ name: "", pieces: torchPieces(out, { unet: byName(trained) }) }];
    case "unet-pt":
      return [{ name: "", pieces: torchPieces(out, whole(unet.parameters, trained)) }];
    case "unet-pt-compvis": {
      const originals = originalUNetNames(unet.parameters.names(), unet.config);
      const tensors = [...whole(unet.parameters, trained)].map(([name, t]) => [`model.diffusion_model.${originals.get(name)!}`, t] as const);
      return [{ name: "", pieces: torchPieces(out, new Map(tensors)) }];
    }
    case "text-encoder-wrapper":
      return [{ name: "", pieces: torchPieces(out, wrapped(whole(textEncoder.parameters, trained), textEncoder.config.maxLength)) }];
    case "text-encoder-folder": {
      const tensors = Object.fromEntries(whole(textEncoder.parameters, trained));
      return [
        { name: "config.json", pieces: json(await textEncoderJson(model, base)) },
        { name: "model.safetensors", pieces: safetensorsPieces(`${out}/model.safetensors`, tensors, { format: "pt" }) },
      ];
    }
    default: {
      if (!base) throw new UsageError(`layout ${layout} needs a model in a folder in diffusers' layout, whose other parts it copies`);
      const weights = "unet/diffusion_pytorch_model.safetensors";
      const tensors = Object.fromEntries(whole(unet.parameters, trained));
      return [
        ...(await componentCopies(base, "unet")),
        { name: weights, pieces: safetensorsPieces(`${out}/${weights}`, tensors, { format: "pt" }) },
      ];
    }
  }
}

/** @throws UsageError */
function lowRankPieces(layout: LayoutName, changed: Changed, out: string): OutputFile["pieces"] {
  if (!changed.lowRank) throw unsuited(layout, "low-rank factors", changed);
  const names = layout.slice("lora-".length) as LowRankNames;
  const { tensors, metadata } = lowRankTensors(names, changed.lowRank.modules, changed.lowRank.alpha);
  return safetensorsPieces(out, byName(tensors), metadata);
}

function unsuited(layout: LayoutName, wanted: string, { weights, lowRank }: Changed): UsageError {
  const has = [...(weights?.keys() ?? []), ...(lowRank ? ["low-rank factors"] : [])].join(" and ");
  return new UsageError(`layout ${layout} holds ${wanted === "unet" ? "a UNet" : wanted}, but what was trained is ${has || "nothing"}`);
}

function tensor({ data, shape }: NDArray): TensorOnDemand {
  return { dtype: "F32", shape, read: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

function byName(tensors: ReadonlyMap<string, NDArray>): Record<string, TensorOnDemand> {
  return Object.fromEntries([...tensors].map(([name, array]) => [name, tensor(array)]));
}

/** All tensors of a component: the trained ones, and the others as its file has them. */
function whole(parameters: Parameters, trained: ReadonlyMap<string, NDArray>): Map<string, TensorOnDemand> {
  return new Map([...parameters.names()].map((name) => {
    const array = trained.get(name);
    if (array) return [name, tensor(array)];
    const read = async (): Promise<Uint8Array<ArrayBuffer>> => {
      const data = await parameters.readStored(name);
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    };
    return [name, { dtype: "F32", shape: parameters.storedShape(name), read }];
  }));
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

/** config.json of transformers' CLIPTextModel: the base's, or what is known of it. */
async function textEncoderJson(model: StableDiffusion, base: ModelFolder | undefined): Promise<object> {
  const own = base && (await componentConfig(base, "text_encoder"));
  if (own) return { ...own, torch_dtype: "float32" };
  const { vocabularySize, hiddenSize, intermediateSize, layers, heads, maxLength, epsilon, activation } = model.parts.textEncoder.config;
  const [bos, eos] = model.tokenizer.encode("");
  return {
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
}

async function* json(value: object): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}
