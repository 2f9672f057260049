/**
 * The bundled model's weights in every layout that checkpoints come in, made from the recorded pairs of names, not by the engine's own
 * maps.
 */
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { originalNames, type Section } from "./original-names.ts";
import { type TorchTree, torchFile } from "./torch-file.ts";

export const EMOJI = "assets/emoji";

export interface RawTensor {
  readonly dtype: "F16" | "F32" | "I64";
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export type Tensors = Readonly<Record<string, RawTensor>>;

export type Part = "unet" | "vae" | "text_encoder";

const loaded = new Map<string, Promise<Tensors>>();

/** Every tensor of a file under test, as stored. */
export function readTensors(path: string): Promise<Tensors> {
  let tensors = loaded.get(path);
  if (!tensors) {
    tensors = (async () => {
      const file = await openTensorPath(nodeFiles, path);
      const out: Record<string, RawTensor> = {};
      for (const { name, dtype, shape } of file.entries.values()) {
        out[name] = { dtype: dtype as RawTensor["dtype"], shape, data: await file.readBytes(name) };
      }
      await file.close();
      return out;
    })();
    loaded.set(path, tensors);
  }
  return tensors;
}

/** A component of the bundled model, in diffusers' names. */
export function emojiTensors(part: Part): Promise<Tensors> {
  return readTensors(`${EMOJI}/${part}/${part === "text_encoder" ? "model" : "diffusion_pytorch_model"}.safetensors`);
}

export function prefixed(prefix: string, tensors: Tensors): Tensors {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [prefix + name, tensor]));
}

/** UNet or VAE tensors (all or some) in the original names; the VAE's attention as 1x1 convolutions. */
export function original(part: "unet" | "vae", tensors: Tensors): Tensors {
  const byName = new Map(originalNames(`${part} small` satisfies Section).map((pair) => [pair.names[0]!, pair]));
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => {
    const pair = byName.get(name)!;
    const shape = pair.shape.length === 4 && tensor.shape.length === 2 ? [...tensor.shape, 1, 1] : tensor.shape;
    return [pair.original, { ...tensor, shape }];
  }));
}

/** A text encoder of n layers in OpenCLIP's names, with one more block of nonsense as its last, and the output projection. */
export function openClip(tensors: Tensors, layers: number, width: number): Tensors {
  const out: Record<string, RawTensor> = {};
  const nonsense = (shape: readonly number[]): RawTensor => ({
    dtype: "F16",
    shape,
    data: new Uint8Array(new Uint16Array(shape.reduce((a, b) => a * b, 1)).fill(0x3c00).buffer),
  });
  for (const { original: name, names } of originalNames("text sd2")) {
    const block = Number(/resblocks\.(\d+)\./.exec(name)?.[1] ?? -1);
    if (block > layers) continue;
    if (block === layers) out[name] = nonsense([...out[name.replace(`.${block}.`, ".0.")]!.shape]);
    else if (names.length > 0) {
      const parts = names.map((n) => tensors[n]!);
      const [rows, ...rest] = parts[0]!.shape;
      out[name] = { ...parts[0]!, shape: [rows! * parts.length, ...rest], data: Buffer.concat(parts.map((p) => p.data)) };
    } else if (name === "text_projection") out[name] = nonsense([width, width]);
  }
  return out;
}

/** Averaged weights as the original code names them: without dots. */
export function averaged(unet: Tensors): Tensors {
  return Object.fromEntries(Object.entries(unet).map(([name, tensor]) => [`model_ema.diffusion_model${name.replaceAll(".", "")}`, tensor]));
}

/** All tensors with every number zero. */
export function zeroed(tensors: Tensors): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [name, { ...tensor, data: new Uint8Array(tensor.data.length) }]),
  );
}

export function safetensors(tensors: Tensors, metadata: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  return encodeSafetensors("test", tensors, metadata);
}

export function torchTree(tensors: Tensors): TorchTree {
  return Object.fromEntries(Object.entries(tensors).map(([name, { dtype, shape, data }]) => [name, { dtype, shape, read: () => data }]));
}

export function torch(tensors: Tensors): Uint8Array<ArrayBuffer> {
  return torchFile(torchTree(tensors));
}

/**
 * The whole bundled model as the original code's checkpoint: its UNet and VAE, its text encoder below `cond_stage_model.transformer.`, and
 * what training leaves.
 */
export async function originalCheckpoint(): Promise<Tensors> {
  const scalar: RawTensor = { dtype: "F32", shape: [1000], data: new Uint8Array(4000) };
  const positions: RawTensor = { dtype: "I64", shape: [1, 32], data: new Uint8Array(256) };
  return {
    ...prefixed("model.diffusion_model.", original("unet", await emojiTensors("unet"))),
    ...prefixed("first_stage_model.", original("vae", await emojiTensors("vae"))),
    ...prefixed("cond_stage_model.transformer.", await emojiTensors("text_encoder")),
    betas: scalar, alphas_cumprod: scalar, sqrt_one_minus_alphas_cumprod: scalar, "first_stage_model.loss.logvar": scalar,
    "cond_stage_model.transformer.text_model.embeddings.position_ids": positions,
  };
}
