import { isObject, joinPath, readJsonFile } from "../../../formats/file-system.ts";
import type { RgbImage } from "../../../formats/picture/image.ts";
import { ClipScorer, clipScore as scoreOf } from "../../../metrics/clip-score.ts";
import { joined, toChannelsLast } from "../../../nn/array.ts";
import { type Clip, cosine, loadClip } from "../../../vision/clip.ts";
import type { Check, Form } from "../../check.ts";
import type { Case } from "../../golden.ts";
import { referencePicture } from "../../pictures.ts";

/** Absolute: pixels of about unit spread, and the benchmark's number. */
const PIXEL_TOLERANCE = 1e-6;
const SCORE_TOLERANCE = 1e-5;

/** `clip_score`: preprocessing, both encoders, logits and the benchmark's number, with the CLIPModel in a folder beside the reference. */
export const clipScore: Form = async (check) => {
  const { golden, context } = check;
  const clip = await loadClip(await context.device(), { files: context.files, folder: await modelFolder(check) });
  try {
    const pictures = new Map<string, RgbImage>();
    for (const path of golden.list("pictures").map(String)) pictures.set(path, await referencePicture(golden, context.files, path));
    await check.cases("", (c) =>
      c["pairs"] === undefined ? checkBatch(check, c.name, clip, [...pictures.values()]) : checkPairs(check, c, clip, pictures),
    );
  } finally {
    await clip.destroy();
  }
};

/** The folder beside the reference that holds a CLIPModel. @throws Error if there is none */
async function modelFolder({ golden, context: { files } }: Check): Promise<string> {
  for (const name of await files.list(golden.folder)) {
    if (!name.endsWith("/")) continue;
    const folder = joinPath(golden.folder, name.slice(0, -1));
    const file = joinPath(folder, "config.json");
    if ((await files.kind(file)) !== "file") continue;
    const config = await readJsonFile(files, file);
    if (isObject(config) && config["model_type"] === "clip") return folder;
  }
  throw new Error("no folder beside the reference holds a CLIPModel");
}

const unit = (x: Float32Array): Float32Array => x.map((v) => v / Math.hypot(...x));

async function checkBatch(check: Check, name: string, clip: Clip, pictures: readonly RgbImage[]): Promise<void> {
  const { golden } = check;
  const compare = (tensor: string, actual: ArrayLike<number>): Promise<void> =>
    check.compare(name, tensor, actual, undefined, { key: tensor, optional: true });
  const prepared = pictures.map((picture) => clip.prepare(picture));
  const [, channels, size] = prepared[0]!.shape as [number, number, number, number];
  const pixels = { data: joined(prepared.map(({ data }) => data)), shape: [pictures.length, channels, size, size] };
  await check.compare(name, "pixel_values", pixels, PIXEL_TOLERANCE, { key: "pixel_values", measure: "absolute" });
  const program = await clip.program("verify clip image", (g) => {
    const embedding = clip.recordImage(g, pictures.length);
    const hidden = [...g.captured.keys()].filter((k) => k.startsWith("vision_model.hidden_states."));
    const [first, last, pooled] = [hidden[0]!, hidden.at(-1)!, "vision_model"].map((k) => g.captured.get(k)!);
    return { outputs: { embedding, first: first!, last: last!, pooled: pooled! } };
  });
  await program.run({ image: toChannelsLast(pixels) });
  const read = (await program.read()) as Record<string, Float32Array<ArrayBuffer>>;
  await compare("vision.hidden.0", read["first"]!);
  await compare("vision.hidden.last", read["last"]!);
  await compare("vision.pooled", read["pooled"]!);
  const width = read["embedding"]!.length / pictures.length;
  const images = pictures.map((_, i) => unit(read["embedding"]!.subarray(i * width, (i + 1) * width)));
  await compare("image_embeds", joined(images));

  const texts: Float32Array[] = [];
  const [pooled, ids, mask]: [number[], number[], number[]] = [[], [], []];
  const length = golden.shape("input_ids")[1]!;
  for (const prompt of golden.list("prompts").map(String)) {
    const own = clip.encodeText(prompt);
    const end = clip.endOf(own);
    ids.push(...Array.from({ length }, (_, i) => own[Math.min(i, end)]!));
    mask.push(...Array.from({ length }, (_, i) => (i <= end ? 1 : 0)));
    const text = await clip.program(`verify clip text ${end}`, (g) => {
      const embedding = clip.recordText(g, end + 1);
      return { outputs: { embedding, pooled: g.captured.get("text_model.pooled")! } };
    });
    await text.run({ ids: Uint32Array.from(own.subarray(0, end + 1)), end: Uint32Array.of(end) });
    const out = (await text.read()) as Record<"embedding" | "pooled", Float32Array<ArrayBuffer>>;
    pooled.push(...out.pooled);
    texts.push(unit(out.embedding));
  }
  await check.compare(name, "input_ids", ids, 0, { key: "input_ids" });
  await check.compare(name, "attention_mask", mask, 0, { key: "attention_mask" });
  await compare("text.pooled", pooled);
  await compare("text_embeds", joined(texts));
  const cosines = images.flatMap((a) => texts.map((b) => cosine(a, b)));
  const scale = await clip.logitScale();
  await compare("cosine", cosines);
  await compare("logits_per_image", cosines.map((x) => x * scale));
  await checkBytes(check, name, clip, prepared.map(({ data }) => data), size);
}

/** `uint8.i`: what the pictures were before they were normalised. */
async function checkBytes(check: Check, name: string, clip: Clip, prepared: readonly Float32Array[], size: number): Promise<void> {
  // Black and white tell what each channel is moved and scaled by.
  const flat = (value: number): Float32Array =>
    clip.prepare({ data: new Uint8Array(size * size * 3).fill(value), width: size, height: size }).data;
  const [black, white] = [flat(0), flat(255)];
  for (const [i, data] of prepared.entries()) {
    const levels = data.map((x, at) => Math.round((255 * (x - black[at]!)) / (white[at]! - black[at]!)));
    const plane = size * size;
    const bytes = Array.from({ length: plane * 3 }, (_, at) => levels[(at % 3) * plane + Math.floor(at / 3)]!);
    await check.compare(name, `uint8.${i}`, bytes, 0, { key: `uint8.${i}`, optional: true });
  }
}

async function checkPairs(check: Check, c: Case, clip: Clip, pictures: ReadonlyMap<string, RgbImage>): Promise<void> {
  const { golden, rows } = check;
  const scorer = new ClipScorer(clip);
  const logits: number[] = [];
  for (const pair of golden.list("pairs", c)) {
    const [picture, caption] = pair as readonly [string, string];
    const path = [...pictures.keys()].find((p) => p.endsWith(`/${picture}.png`));
    if (path === undefined) throw new Error(`"pictures" lists no ${picture}`);
    logits.push(await scorer.logit(pictures.get(path)!, caption));
  }
  rows.compare(c.name, "logits", logits, golden.numbers("logits", c), rows.tolerances.model);
  const score = scoreOf(logits);
  rows.error(c.name, "mean_clip_score", Math.abs(score - golden.number("mean_clip_score", c)), SCORE_TOLERANCE, "absolute");
  if (c["mean_cosine"] === undefined) return;
  const mean = (100 * score) / (await clip.logitScale());
  rows.error(c.name, "mean_cosine", Math.abs(mean - golden.number("mean_cosine", c)), SCORE_TOLERANCE, "absolute");
}
