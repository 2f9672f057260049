/** What `generate` takes, and how its prompts are planned and drawn, whether it is one or those of a table. */
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { type GenerateSettings, generate, generateSettings } from "../../engine/diffusion/generate.ts";
import type { SldStrength } from "../../engine/diffusion/guidance.ts";
import { cutOffNote, holdsWord } from "../../engine/diffusion/learned-embedding.ts";
import type { XlOptions } from "../../engine/diffusion/model/xl-options.ts";
import type { SizeConditions } from "../../engine/diffusion/model/sizes.ts";
import type { SchedulerName, TimestepSpacing } from "../../engine/diffusion/schedulers/index.ts";
import { readLearnedEmbeddings, requireFitting } from "../../engine/loading/embedding-file.ts";
import { nodeFiles, writeFileAtomic } from "../../engine/platform/node-files.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import { quoted } from "../../engine/run/text/format.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import type { Context } from "../context.ts";
import { fitAndSay } from "../fit.ts";
import { resolveWeights } from "../model-source.ts";
import { openModel, originOf } from "../model.ts";

/** Width and height, or x and y. */
type Pair = readonly [number, number];

export interface GenerateFlags extends ModelOptions, XlOptions {
  readonly prompt?: string;
  readonly promptsCsv?: string;
  readonly negativePrompt?: string;
  readonly originalSize?: Pair;
  readonly cropAt?: Pair;
  readonly targetSize?: Pair;
  readonly negativeOriginalSize?: Pair;
  readonly negativeCropAt?: Pair;
  readonly negativeTargetSize?: Pair;
  readonly spacing?: TimestepSpacing;
  readonly steps: number;
  readonly scheduler?: SchedulerName;
  readonly eta?: number;
  /** Undefined if not given: the model's. */
  readonly guidance?: number;
  /** Undefined if not given: a table has a seed in every row. */
  readonly seed?: number;
  readonly count: number;
  readonly width?: number;
  readonly height?: number;
  readonly sld?: SldStrength;
  readonly safree?: string;
  readonly embedding?: readonly string[];
  readonly dryRun?: boolean;
  readonly out: string;
}

/** The size conditions that the flags give, of the field's order: height first. */
export function sizeOptions(flags: GenerateFlags): Pick<XlOptions, "sizes" | "negativeSizes"> {
  const sizes = conditions(flags.originalSize, flags.cropAt, flags.targetSize);
  const negativeSizes = conditions(flags.negativeOriginalSize, flags.negativeCropAt, flags.negativeTargetSize);
  return { ...(sizes && { sizes }), ...(negativeSizes && { negativeSizes }) };
}

function conditions(original: Pair | undefined, crop: Pair | undefined, target: Pair | undefined): Partial<SizeConditions> | undefined {
  if (!original && !crop && !target) return undefined;
  const turned = ([a, b]: Pair): Pair => [b, a];
  return {
    ...(original && { original: turned(original) }),
    ...(crop && { crop: turned(crop) }),
    ...(target && { target: turned(target) }),
  };
}

/** A prompt with what is its own. @param id the case of a table */
export interface PromptRow {
  readonly prompt: string;
  readonly id?: string;
  readonly seed?: number | undefined;
  readonly guidance?: number | undefined;
}

/** Prompts that can be drawn, and the model that draws them. */
export type Drawing = Awaited<ReturnType<typeof planDrawing>>;

/** Opens the model and plans every prompt, so that what cannot be is refused before anything is drawn. @throws as opening a model */
export async function planDrawing(context: Context, flags: GenerateFlags, rows: readonly PromptRow[]) {
  const { embedding = [], negativePrompt, eta } = flags;
  const embeddings = embedding.map(async (name) => readLearnedEmbeddings(nodeFiles, await resolveWeights(name, context)));
  const given = (await Promise.all(embeddings)).flat();
  const model = await openModel(context, flags);
  requireFitting(model, given);
  const prompts = rows.map(({ prompt, id }) => ({ text: prompt, where: id === undefined ? "" : `case ${id}: ` }));
  if (negativePrompt !== undefined) prompts.push({ text: negativePrompt, where: "negative prompt: " });
  const learned = given.filter(({ name }) => prompts.some(({ text }) => holdsWord(text, name)));
  // An embedding that goes by two names is used by either.
  for (const { name, file, rows: values } of given)
    if (!learned.some((other) => other.rows === values)) context.warn(`the learned word ${quoted(name)} of ${file} is in no prompt`);
  for (const { text, where } of prompts) {
    const note = cutOffNote(model, text, learned);
    if (note !== undefined) context.warn(`${where}${note}`);
  }
  const planned = rows.map((row) => {
    const { prompt, seed = flags.seed, guidance = flags.guidance } = row;
    const options = { ...flags, prompt, seed, guidance, learned };
    return { row, options, settings: generateSettings(model, options) };
  });
  if (eta !== undefined && eta > 0 && planned.every(({ settings }) => settings.scheduler !== "ddim"))
    context.warn(`--eta changes nothing: ${planned[0]?.settings.scheduler} does not use it (only ddim)`);
  if (negativePrompt && planned.every(({ settings }) => settings.guidance <= 1))
    context.warn("--negative-prompt changes nothing: it needs a guidance above 1");
  return { model, planned };
}

/**
 * Draws all that was planned and writes each picture, whole or not at all.
 * @param fileOf the name of a prompt's picture number n of so many @param note what progress says of prompt i @throws AbortError
 */
export async function drawAll(
  context: Context,
  flags: GenerateFlags,
  { model, planned }: Drawing,
  fileOf: (row: PromptRow, seed: number, n: number, count: number) => string,
  note: (i: number) => string = () => "",
) {
  const { width, height } = planned[0]!.settings;
  const guided = planned.some(({ settings }) => settings.guidance > 1);
  await fitAndSay(context, model, { width, height, rows: flags.sld ? 3 : guided ? 2 : 1, pictures: 1, attackRows: 0 });
  const started = performance.now();
  const origin = originOf(context, model, flags);
  const written = await context.withProgress("drawing", async (progress) => {
    const files: { file: string; seed: number; row: PromptRow; settings: GenerateSettings }[] = [];
    for (const [i, { row, options, settings }] of planned.entries()) {
      const images = await generate(model, {
        ...options,
        signal: context.signal,
        onStep: (done, total) => progress.update((i + done / total) / planned.length, `${note(i)}step ${done}/${total}`),
      });
      for (const [n, { seed, image }] of images.entries()) {
        const file = fileOf(row, seed, n, images.length);
        await writeFileAtomic(file, encodePng(image, { ...pngTexts(settings, seed, origin) }));
        files.push({ file, seed, row, settings });
      }
    }
    return files;
  });
  return { written, seconds: (performance.now() - started) / 1000 };
}
