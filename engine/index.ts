/**
 * The public API of Lethe, all of it. Arrays go in and out as `{ data: Float32Array, shape: number[] }`, pictures and latents in NCHW.
 * It needs nothing of Node: bundled for a browser, everything works but naming a model by a path.
 */
import { modelSource, resolvePath } from "#platform";
import { bytesSource } from "./formats/byte-source.ts";
import { type JudgeName, type JudgeOptions } from "./attack/judges/options.ts";
import type { OpenJudge } from "./attack/judges/open.ts";
import { loadStableDiffusion as load, type LoadOptions } from "./loading/load.ts";
import type { ModelSource } from "./formats/model-source.ts";
import type { ImageClassifier } from "./vision/image-classifier.ts";
import type { FileEmbedding } from "./loading/embedding-file.ts";
import type { Inspection } from "./loading/inspect.ts";
import type { FileSystem } from "./formats/file-system.ts";
import type { RgbImage } from "./formats/picture/image.ts";
import type { NDArray } from "./nn/array.ts";
import type { TensorFile } from "./formats/tensor-file.ts";
import type { DiffusionClassification, DiffusionClassifierOptions } from "./diffusion/diffusion-classifier.ts";
import type { StableDiffusionPipeline } from "./diffusion/pipeline.ts";
import type { StableDiffusion } from "./diffusion/stable-diffusion.ts";
import type { Device } from "./runtime/device.ts";

export { openDevice } from "./platform/open-device.ts";
export type { Device, DeviceInfo, DeviceUsage } from "./runtime/device.ts";
export type { DeviceOptions } from "./runtime/open-device.ts";
export { describeChoice, type KernelChoice, type KernelOption } from "./runtime/choice/kernel-table.ts";
export { DeviceLostError, GpuError, InputError, LetheError, NoAdapterError, ShaderCompileError, UsageError } from "./runtime/errors.ts";
export { FormatError } from "./formats/errors.ts";
export { ShapeError } from "../kernels/kernel.ts";

export type { NDArray } from "./nn/array.ts";
export type { LoadOptions, LowRankFile } from "./loading/load.ts";
export type { ModelSource } from "./formats/model-source.ts";
export type { InspectedComponent, Inspection } from "./loading/inspect.ts";
export type { LossKind } from "./diffusion/stable-diffusion.ts";
export type { StableDiffusionPipeline as StableDiffusion } from "./diffusion/pipeline.ts";
export type { GenerateOptions, GenerateSettings, GeneratedImage } from "./diffusion/generate.ts";
export { SLD_STRENGTHS, type SldStrength } from "./diffusion/guidance.ts";
export { SCHEDULER_NAMES, type SchedulerName } from "./diffusion/schedulers/index.ts";
export type { Classification, ImageClassifier } from "./vision/image-classifier.ts";
export {
  createTokenizer,
  TokenizerError,
  type DecodeOptions,
  type Encoding,
  type Tokenizer,
  type TokenizerFiles,
} from "../tokenizer/index.ts";
export { manualSeed, type Generator, type GeneratorState } from "./runtime/random/random.ts";

export { attack } from "./attack/run.ts";
export { classifierJudge } from "./attack/judges/classifier.ts";
export { JUDGES, type JudgeName, type JudgeOptions } from "./attack/judges/options.ts";
export type { OpenJudge } from "./attack/judges/open.ts";
export { diffusionJudge } from "./attack/judges/diffusion.ts";
export type { ConceptPair } from "./attack/search/concept-vector.ts";
export type { TransferCandidate } from "./attack/options.ts";
export type {
  DiffusionClassification, DiffusionClassifierOptions, EliminationStage, PromptScore,
} from "./diffusion/diffusion-classifier.ts";
export { encodeLearnedEmbedding, type LearnedEmbedding } from "./diffusion/learned-embedding.ts";
export type { FileEmbedding } from "./loading/embedding-file.ts";
export { ATTACKERS } from "./attack/attackers.ts";
export { VOCABULARIES, type Vocabulary } from "./attack/search/vocabulary.ts";
export { INSERTIONS } from "./attack/search/slot-layout.ts";
export { TIMESTEP_ORDERS } from "./attack/option-table.ts";
export type { AttackCase, AttackOptions, GateOptions, PromptPainter, SamplingOptions } from "./attack/options.ts";
export type { TimestepOrder } from "./attack/option-table.ts";
export type { AttackEvent, AttackResult, TriedCounts } from "./attack/events.ts";
export type { AttackState } from "./attack/session/state.ts";
export type { AttackerName } from "./attack/attackers.ts";
export type { Evaluation, GateVerdict } from "./attack/session/evaluation.ts";
export type { Insertion } from "./attack/search/slot-layout.ts";
export type { Judge, Judgement } from "./attack/judges/judgement.ts";

export { memoryFiles, type FileSystem } from "./formats/file-system.ts";
export { httpFiles, type HttpFilesOptions } from "./formats/http-files.ts";
export type { ByteSource } from "./formats/byte-source.ts";
export { imagesToTensor, rgbaPixels, tensorToImages, type RgbImage } from "./formats/picture/image.ts";
export { encodePng } from "./platform/picture/encode-png.ts";
export { openTensorPath } from "./formats/open.ts";
export type { TensorEntry, TensorFile } from "./formats/tensor-file.ts";

/**
 * Opens a Stable Diffusion model: its configurations, its tokenizer, and the headers of its weight files.
 * @param source `"emoji"` (bundled) or the path of a folder in diffusers layout or of a checkpoint file (all in Node only), or `{ files,
 * folder }`
 * @param options `unet`, `textEncoder`: files of weights laid over the model's own; `lora`: low-rank files merged into them; `weights`: how
 * they are stored on the device
 * @throws FormatError or InputError naming the file, and the tensor or field where there is one
 */
export function loadStableDiffusion(
  device: Device,
  source: string | ModelSource,
  options: LoadOptions = {},
): Promise<StableDiffusionPipeline> {
  if (typeof source !== "string") return load(device, source, options);
  const { unet, textEncoder, config, lora } = options;
  return load(device, modelSource(source), {
    ...options,
    ...(unet !== undefined && { unet: resolvePath(unet) }),
    ...(textEncoder !== undefined && { textEncoder: resolvePath(textEncoder) }),
    ...(config !== undefined && { config: resolvePath(config) }),
    ...(lora && { lora: lora.map(({ file, strength }) => ({ file: resolvePath(file), strength })) }),
  });
}

/**
 * Decodes PNG of any colour type and bit depth to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")`: transparency is dropped, not
 * blended; of 16-bit colours the upper byte is taken, and 16-bit grey is cut off at 255.
 * @param file its name, for errors
 * @throws TypeError for other arguments; FormatError if the bytes are no PNG (saying what they look like), damaged, truncated, or claim
 * more than 2^26 pixels
 */
export async function decodePng(file: string, bytes: Uint8Array): Promise<RgbImage> {
  return (await import("./platform/picture/decode-png.ts")).decodePng(file, bytes);
}

/** The texts in a PNG by keyword (tEXt, iTXt, zTXt). @throws FormatError if it is not a PNG, or damaged */
export async function readPngTexts(file: string, bytes: Uint8Array): Promise<Map<string, string>> {
  return (await import("./formats/picture/png.ts")).readPngTexts(file, bytes);
}

/**
 * A picture as `attack`'s `target`: [1, 3, height, width] in [-1, 1], made to fit the model as the reference does (shortest edge, centre).
 * @param source a PNG, JPEG or WebP: its path (in Node), or `{ name, bytes }`; EXIF's orientation counts
 * @throws FormatError naming the file if it is missing, damaged or of another kind
 */
export async function loadPicture(
  model: StableDiffusionPipeline,
  source: string | { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> },
): Promise<NDArray> {
  const { loadTarget } = await import("./run/target.ts");
  if (typeof source !== "string") return (await loadTarget(bytesSource(source.name, source.bytes), model)).array;
  const { files, folder } = modelSource(source);
  const opened = await files.open(folder);
  return loadTarget(opened, model).then(({ array }) => array).finally(() => opened.close());
}

/**
 * The diffusion model as a zero-shot classifier (arXiv 2303.16203, algorithm 2): the prompt under which it predicts the noise in a picture
 * best. @param image [1, 3, H, W] @throws UsageError for bad options; ShapeError for the picture; AbortError
 */
export async function classifyByDiffusion(
  model: StableDiffusion,
  image: NDArray,
  options: DiffusionClassifierOptions,
): Promise<DiffusionClassification> {
  return (await import("./diffusion/diffusion-classifier.ts")).classifyByDiffusion(model, image, options);
}

/**
 * Opens an image classifier folder (ResNetForImageClassification or ViTForImageClassification), e.g. `"emoji/classifier/object"`.
 * @throws FormatError, InputError
 */
export async function loadClassifier(device: Device, source: string | ModelSource): Promise<ImageClassifier> {
  const classifiers = await import("./vision/image-classifier.ts");
  return classifiers.loadClassifier(device, typeof source === "string" ? modelSource(source) : source);
}

/**
 * Opens one of JUDGES, e.g. `createJudge("nudenet", device, { model: "320n.onnx" })`. Its `judge` goes into `attack`'s options, its `rule`
 * says what it calls a success.
 * @param options `files` may be left out in Node; paths are then the disk's, or below `"emoji"`
 * @throws UsageError for a missing, useless or impossible option; FormatError or InputError naming the file for a model that cannot be used
 */
export async function createJudge(
  name: JudgeName,
  device: Device,
  options: Omit<JudgeOptions, "files"> & Partial<Pick<JudgeOptions, "files">>,
): Promise<OpenJudge> {
  const { createJudge: create } = await import("./attack/judges/open.ts");
  if (options.files) return create(name, device, { ...options, files: options.files });
  const { model, prompts } = options;
  return create(name, device, {
    ...options,
    files: modelSource(model ?? name).files,
    ...(model !== undefined && { model: resolvePath(model) }),
    ...(prompts !== undefined && { prompts: resolvePath(prompts) }),
  });
}

/**
 * What a file of tensors is: kind, names, version, what a model would miss in it. Of the numbers at most one small tensor is read.
 * @throws FormatError if the file contradicts itself: two tensors in one place, two conventions of names in one component
 */
export async function inspectTensorFile(file: TensorFile): Promise<Inspection> {
  return (await import("./loading/inspect.ts")).inspectTensorFile(file);
}

/**
 * The learned words of a textual inversion file, in any of the field's forms.
 * @throws FormatError for SDXL's, and for a file that holds anything else
 */
export async function readLearnedEmbeddings(files: FileSystem, path: string): Promise<FileEmbedding[]> {
  return (await import("./loading/embedding-file.ts")).readLearnedEmbeddings(files, path);
}
