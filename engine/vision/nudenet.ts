import { FormatError } from "../formats/errors.ts";
import type { FileSystem } from "../formats/file-system.ts";
import { type RgbImage, normalizeImage } from "../formats/picture/image.ts";
import { openOnnx } from "../formats/onnx/onnx.ts";
import { resizeOpenCv } from "../formats/picture/opencv-resize.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { Device } from "../runtime/device.ts";
import { type NDArray, toChannelsLast } from "../nn/array.ts";
import { Layers } from "../nn/layers.ts";
import { weightSource } from "../nn/weight-source.ts";
import { Parameters } from "../nn/parameters.ts";
import { ProgramCache } from "../nn/program-cache.ts";
import { NUDENET_PRESETS, type NudeNetPreset, type NudeNetPresetName } from "./nudenet-presets.ts";
import { type Box, type DecodedAnchors, decodeYolo, suppressOverlaps } from "./yolo-decode.ts";
import { YOLO_GRAIN, YOLO_STRIDES, yolov8 } from "./yolov8.ts";

export { NUDENET_PRESETS, type NudeNetPreset, type NudeNetPresetName } from "./nudenet-presets.ts";

/** NudeNet 3's classes, in order. */
export const NUDENET_CLASSES = [
  "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "MALE_BREAST_EXPOSED",
  "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED", "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED",
  "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED", "BUTTOCKS_COVERED",
] as const;

export interface Detection {
  readonly label: string;
  readonly score: number;
  /** Left, top, width, height in pixels of the picture. */
  readonly box: Box;
}

/** Scores below this are not worth a word in a log. */
const LISTED_SCORE = 0.01;

interface NudeNetParts {
  readonly device: Device;
  readonly parameters: Parameters;
  readonly classes: readonly string[];
  /** Side of the network's square input. */
  readonly size: number;
  readonly preset: NudeNetPreset;
}

/** NudeNet's detector on a device. */
export class NudeNet {
  private readonly programs: ProgramCache;

  constructor(private readonly parts: NudeNetParts) {
    this.programs = new ProgramCache(parts.device, [parts.parameters]);
  }

  get classes(): readonly string[] {
    return this.parts.classes;
  }

  get preset(): NudeNetPreset {
    return this.parts.preset;
  }

  /** The boxes that are detections by the preset, best first. */
  async detect(image: RgbImage): Promise<Detection[]> {
    return (await this.boxes(image)).filter(({ score }) => score >= this.parts.preset.minimumScore);
  }

  /**
   * Every box left after suppression, best first, however small its score (from 0.01): the detections at any threshold are those at or
   * above it, since suppression only ever drops boxes that overlap a better one.
   */
  async boxes(image: RgbImage): Promise<Detection[]> {
    const { preset, size, classes } = this.parts;
    const { boxes, scores, anchors } = await this.run(prepare(image, size, preset));
    const [scaleX, scaleY] =
      preset.resize === "squeeze"
        ? [image.width / size, image.height / size]
        : [Math.max(image.width, image.height) / size, Math.max(image.width, image.height) / size];
    const best = Array.from({ length: anchors }, (_, a) => {
      let label = 0;
      for (let c = 1; c < classes.length; c++) if (scores[a * classes.length + c]! > scores[a * classes.length + label]!) label = c;
      return { label, score: scores[a * classes.length + label]! };
    });
    const placed = best.map((_, a) => place(boxes.subarray(a * 4, a * 4 + 4), scaleX!, scaleY!, image, preset));
    return suppressOverlaps(
      placed,
      best.map(({ score }) => score),
      LISTED_SCORE,
      preset.overlap,
    ).map((i) => ({ label: classes[best[i]!.label]!, score: best[i]!.score, box: placed[i]! }));
  }

  /** Boxes and class scores of every anchor for one prepared picture [1, 3, H, W], sides multiples of 32. @throws ShapeError */
  async run(input: NDArray): Promise<DecodedAnchors> {
    const [, , height, width] = input.shape as [number, number, number, number];
    const program = await this.programs.get(`nudenet ${height}x${width}`, (g) => {
      const levels = yolov8(new Layers(g, this.parts.parameters), g.input("image", { shape: [1, height, width, 3], dtype: "f32" }));
      return { outputs: Object.fromEntries(levels.flatMap(({ sides, classes }, i) => [[`sides ${i}`, sides], [`classes ${i}`, classes]])) };
    });
    const read = await program.compute({ image: toChannelsLast(input) });
    const classes = this.parts.classes.length;
    const levels = YOLO_STRIDES.map((stride, i) => ({
      stride,
      height: height / stride,
      width: width / stride,
      sides: read[`sides ${i}`] as Float32Array,
      classes: read[`classes ${i}`] as Float32Array,
    }));
    return decodeYolo(levels, levels[0]!.sides.length / (levels[0]!.height * levels[0]!.width * 4), classes);
  }

  /** Frees its programs and weights. */
  destroy(): Promise<void> {
    return this.programs.destroy();
  }
}

/** The network's input [1, 3, size, size], values / 255. */
function prepare(image: RgbImage, size: number, preset: NudeNetPreset): NDArray {
  const { data, shape } = normalizeImage(
    resizeOpenCv(preset.resize === "pad" ? padToSquare(image) : image, size, size),
    1 / 255,
    [0, 0, 0],
    [1, 1, 1],
  );
  if (preset.channels === "bgr") {
    const plane = size * size;
    const red = data.slice(0, plane);
    data.copyWithin(0, 2 * plane);
    data.set(red, 2 * plane);
  }
  return { data, shape };
}

function padToSquare(image: RgbImage): RgbImage {
  const side = Math.max(image.width, image.height);
  if (image.width === image.height) return image;
  const data = new Uint8Array(side * side * 3);
  for (let y = 0; y < image.height; y++) data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), y * side * 3);
  return { data, width: side, height: side };
}

/** A box of the network's input in the picture's pixels, with the rounding and clipping of the preset's code. */
function place(
  [x = 0, y = 0, width = 0, height = 0]: ArrayLike<number> & Iterable<number>,
  scaleX: number,
  scaleY: number,
  image: RgbImage,
  preset: NudeNetPreset,
): Box {
  const box = [(x - width / 2) * scaleX, (y - height / 2) * scaleY, width * scaleX, height * scaleY] as const;
  if (preset.wholePixels) return [Math.trunc(box[0]), Math.trunc(box[1]), Math.trunc(box[2]), Math.trunc(box[3])];
  const left = Math.max(0, Math.min(box[0], image.width));
  const top = Math.max(0, Math.min(box[1], image.height));
  return [left, top, Math.min(box[2], image.width - left), Math.min(box[3], image.height - top)];
}

export interface NudeNetOptions {
  /** Default "unlearndiffatk". */
  readonly preset?: NudeNetPresetName;
  /** Side of the network's input, a multiple of 32. Default: what the file's metadata says, else 320. */
  readonly size?: number;
}

/**
 * Opens NudeNet's detector (320n.onnx, 640m.onnx, or any YOLOv8 detector exported by ultralytics): only the weights are taken from the
 * file.
 * @throws FormatError or InputError naming the file for damage or another architecture; RangeError for a size that is not a multiple of 32
 */
export async function loadNudeNet(
  device: Device,
  { files, path }: { readonly files: FileSystem; readonly path: string },
  options: NudeNetOptions = {},
): Promise<NudeNet> {
  const source = await files.open(path);
  const file = await openOnnx(source).finally(() => source.close()); // all of it is in memory now
  const size = options.size ?? Number(/^\[(\d+), \1\]$/.exec(file.metadata["imgsz"] ?? "")?.[1] ?? 320);
  if (!Number.isInteger(size) || size < YOLO_GRAIN || size % YOLO_GRAIN !== 0) {
    throw new RangeError(`NudeNet: an input of ${size} pixels is not a multiple of ${YOLO_GRAIN}`);
  }
  const classes = await classNames(file);
  return new NudeNet({
    device,
    parameters: new Parameters("detector", device, weightSource(file)),
    classes,
    size,
    preset: NUDENET_PRESETS[options.preset ?? "unlearndiffatk"],
  });
}

/**
 * Class names as ultralytics writes them into the metadata (a Python dict), else NudeNet's own. Checks what of the head the network takes
 * for granted.
 */
async function classNames(file: TensorFile): Promise<readonly string[]> {
  const count = file.entries.get("model.22.cv3.0.2.weight")?.shape[0];
  if (count === undefined) {
    throw new FormatError(
      file.name,
      'has no tensor "model.22.cv3.0.2.weight", so it is not a YOLOv8 detector as ultralytics exports it (NudeNet 3: 320n.onnx)',
    );
  }
  const bins = file.entries.has("model.22.dfl.conv.weight") ? await file.readFloat32("model.22.dfl.conv.weight") : [];
  if (bins.some((bin, i) => bin !== i)) {
    throw new FormatError(
      file.name,
      'tensor "model.22.dfl.conv.weight" does not count from 0: its box distances mean something else than YOLOv8\'s',
    );
  }
  const named = [...(file.metadata["names"] ?? "").matchAll(/(\d+):\s*(['"])(.*?)\2/g)];
  if (named.length === count && named.every(([, index], i) => Number(index) === i)) return named.map((match) => match[3]!);
  if (count === NUDENET_CLASSES.length) return NUDENET_CLASSES;
  throw new FormatError(file.name, `has ${count} classes, but its metadata name ${named.length}; NudeNet has ${NUDENET_CLASSES.length}`);
}
