import type { Tokenizer } from "../../tokenizer/index.ts";
import { gatherRows } from "../../kernels/gather-rows.ts";
import type { Value } from "../../kernels/kernel.ts";
import { openWeights, readConfig, readOptionalConfig } from "../formats/diffusers.ts";
import { joinPath } from "../formats/file-system.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Program } from "../runtime/program.ts";
import { type NDArray, expectShape, toChannelsLast } from "../nn/array.ts";
import { type ClipVisionConfig, clipImageEmbedding, clipVisionConfig } from "./clip-vision.ts";
import { Config } from "../nn/config.ts";
import { Layers } from "../nn/layers.ts";
import type { ModelSource } from "../formats/model-source.ts";
import { loadTokenizer } from "../diffusion/tokenizer-folder.ts";
import { weightSource } from "../nn/weight-source.ts";
import { Parameters } from "../nn/parameters.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import { type Preprocessor, preprocessor } from "./preprocess.ts";
import { ProgramCache, type Recording } from "../nn/program-cache.ts";
import { type TextEncoderConfig, textEncoder, textEncoderConfig, tokenEmbeddings } from "../diffusion/text-encoder.ts";

/** Until 2023 every published config said 2 for the end-of-text id, whatever the vocabulary's: transformers then takes the greatest id. */
const UNSET_END_OF_TEXT = 2;

interface TextPart {
  readonly config: TextEncoderConfig;
  readonly endOfText: number;
  readonly tokenizer: Tokenizer;
}

interface ClipParts {
  readonly device: Device;
  readonly name: string;
  readonly parameters: Parameters;
  /** Where the weights come from. */
  readonly file: TensorFile;
  readonly vision: ClipVisionConfig;
  /** Width of the shared space. */
  readonly projection: number;
  readonly prepare: Preprocessor;
  /** Absent in a CLIPVisionModelWithProjection. */
  readonly text: TextPart | undefined;
}

/** CLIP on a device: pictures and texts as vectors of one space. */
export class Clip {
  private readonly programs: ProgramCache;

  constructor(private readonly parts: ClipParts) {
    this.programs = new ProgramCache(parts.device, [parts.parameters], parts.file);
  }

  /** Width of the shared space. */
  get projection(): number {
    return this.parts.projection;
  }

  /**
   * Embedding [projection] of one picture of any size, not normalised: CLIPModel.get_image_features after the model's own preprocessing.
   */
  async embedImage(image: RgbImage): Promise<Float32Array<ArrayBuffer>> {
    return this.embedPixels(this.parts.prepare(image));
  }

  /** A picture of any size as the image encoder takes it, [1, 3, S, S]. */
  prepare(image: RgbImage): NDArray {
    return this.parts.prepare(image);
  }

  /** Embeddings [B, projection] of prepared pictures [B, 3, S, S]. @throws ShapeError */
  async embedPixels(pixels: NDArray): Promise<Float32Array<ArrayBuffer>> {
    const { vision } = this.parts;
    expectShape("CLIP input", pixels, [undefined, vision.channels, vision.imageSize, vision.imageSize]);
    const batch = pixels.shape[0]!;
    const program = await this.programs.get(`clip image ${batch}`, (g) => ({ outputs: { embedding: this.recordImage(g, batch) } }));
    return program.computeFloats({ image: toChannelsLast(pixels) }, "embedding");
  }

  /**
   * Embedding [projection] of a text, not normalised. What does not fit the model's positions is cut off before the end-of-text token.
   * @throws InputError for a model without a text encoder
   */
  embedText(text: string): Promise<Float32Array<ArrayBuffer>> {
    return this.embedIds(this.textPart().tokenizer.encode(text));
  }

  /**
   * Embedding [projection] of framed ids: the projected state at the end of text, as CLIPModel.get_text_features.
   * @throws InputError without an end of text, or for a model without a text encoder
   */
  async embedIds(ids: Int32Array): Promise<Float32Array<ArrayBuffer>> {
    const { config, endOfText } = this.textPart();
    const bad = ids.find((id) => !(id >= 0 && id < config.vocabularySize));
    if (bad !== undefined) {
      throw new InputError(`token id ${bad} is outside the vocabulary of ${config.vocabularySize} of ${this.parts.name}`);
    }
    const end = this.endOf(ids);
    if (end < 0) throw new InputError(`the ids hold no end of text (${endOfText})`);
    const seen = ids.subarray(0, end + 1); // the encoder looks back only
    const program = await this.programs.get(`clip text ${seen.length}`, (g) => ({
      outputs: { embedding: this.recordText(g, seen.length) },
    }));
    return program.computeFloats({ ids: Uint32Array.from(seen), end: Uint32Array.of(end) }, "embedding");
  }

  /** Where framed ids end: the first end of text, -1 without one. @throws InputError for a model without a text encoder */
  endOf(ids: Int32Array): number {
    const { endOfText } = this.textPart();
    return endOfText === UNSET_END_OF_TEXT ? ids.indexOf(ids.reduce((a, b) => Math.max(a, b), 0)) : ids.indexOf(endOfText);
  }

  /** Framed ids of a text. @throws InputError for a model without a text encoder */
  encodeText(text: string): Int32Array {
    return this.textPart().tokenizer.encode(text);
  }

  /** The image encoder on a graph with an input "image" [B, S, S, 3] -> [B, projection]. Captures every hidden state. */
  recordImage(g: Graph, batch: number): Value {
    const { vision, projection, parameters } = this.parts;
    const image = g.input("image", { shape: [batch, vision.imageSize, vision.imageSize, vision.channels], dtype: "f32" });
    return clipImageEmbedding(new Layers(g, parameters), vision, projection, image);
  }

  /** The text encoder on a graph with inputs "ids" [1, T] and "end" [1] -> [1, projection]. Captures `text_model.pooled`. */
  recordText(g: Graph, length: number): Value {
    const { config } = this.textPart();
    const layers = new Layers(g, this.parts.parameters);
    const hidden = textEncoder(layers, config, tokenEmbeddings(layers, config, g.input("ids", { shape: [1, length], dtype: "u32" })));
    const pooled = gatherRows(g, hidden, g.input("end", { shape: [1], dtype: "u32" }));
    g.capture("text_model.pooled", pooled);
    return layers.linear("text_projection", pooled, this.parts.projection, { bias: false });
  }

  /** A program made of these, kept for its key. @throws as ProgramCache.get */
  program(key: string, record: Recording): Promise<Program> {
    return this.programs.get(key, record);
  }

  /**
   * What CLIPModel multiplies cosines by in its logits: exp(logit_scale), 100 in the published models.
   * @throws FormatError for a model without it
   */
  async logitScale(): Promise<number> {
    return Math.fround(Math.exp((await this.parts.file.readFloat32("logit_scale"))[0]!));
  }

  private textPart(): TextPart {
    const { text, name } = this.parts;
    if (!text) throw new InputError(`${name}: holds CLIP's image encoder only; texts need a whole CLIPModel folder with its tokenizer`);
    return text;
  }

  /**
   * CLIP score of a picture and a text: 100 times the cosine of their embeddings, 0 where that is negative.
   * Source: Hessel et al., arXiv 2104.08718, in torchmetrics' `clip_score` form (100, not the paper's 2.5). Unlike torchmetrics, a text of
   * more tokens than the model has positions keeps its end-of-text token.
   */
  async score(image: RgbImage, text: string): Promise<number> {
    const [a, b] = [await this.embedImage(image), await this.embedText(text)];
    return Math.max(0, 100 * cosine(a, b));
  }

  /** Frees its programs and weights and closes its file. */
  destroy(): Promise<void> {
    return this.programs.destroy();
  }
}

/** a.b / (|a| |b|) in float64; 0 if either is zero. @throws RangeError for different lengths */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new RangeError(`cosine: ${a.length} numbers with ${b.length}`);
  let [product, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return aa === 0 || bb === 0 ? 0 : product / Math.sqrt(aa * bb);
}

/**
 * Opens a folder with a CLIPModel (both encoders, and its tokenizer) or a CLIPVisionModelWithProjection, in Hugging Face's names.
 * @param options `weights`: how big matrices are stored on the device (default "f32")
 * @throws FormatError or InputError naming the file and field
 */
export async function loadClip(
  device: Device,
  { files, folder }: ModelSource,
  options: { readonly weights?: WeightPrecision } = {},
): Promise<Clip> {
  const file = joinPath(folder, "config.json");
  const config = Config.of(file, await readConfig(files, folder));
  const whole = config.oneOf("model_type", ["clip", "clip_vision_model"]) === "clip";
  const part = (name: string): Config => Config.of(`${file}: "${name}"`, config.get(name));
  const vision = clipVisionConfig(whole ? part("vision_config") : config);
  const settings = Config.of(
    joinPath(folder, "preprocessor_config.json"),
    (await readOptionalConfig(files, folder, "preprocessor_config.json")) ?? clipPreprocessing(vision.imageSize),
  );
  let text: TextPart | undefined;
  if (whole) {
    const fields = part("text_config");
    const encoder = textEncoderConfig(fields);
    text = {
      config: encoder,
      endOfText: fields.number("eos_token_id", UNSET_END_OF_TEXT),
      tokenizer: await loadTokenizer(files, folder, encoder.maxLength),
    };
  }
  const weights = await openWeights(files, folder);
  const parameters = new Parameters("clip", device, weightSource(weights), options.weights);
  return new Clip({
    device,
    name: folder,
    parameters,
    file: weights,
    vision,
    projection: config.size("projection_dim", 512),
    prepare: preprocessor(settings),
    text,
  });
}

/** CLIP's own preprocessing, for folders that do not hold it. Source: `_transform` of OpenAI's clip.py. */
function clipPreprocessing(size: number): Readonly<Record<string, unknown>> {
  return {
    size: { shortest_edge: size },
    crop_size: { height: size, width: size },
    do_center_crop: true,
    resample: 3,
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
  };
}
