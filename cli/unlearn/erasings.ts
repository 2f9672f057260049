import { createHash } from "node:crypto";
import { join } from "node:path";
import { asFlags } from "../../engine/options/flags.ts";
import { pick } from "../../engine/options/values.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { MODEL_OPTIONS, type ModelOptions } from "../../engine/run/settings/model-options.ts";
import {
  type GivenUnlearn, type UnlearnSettings, UNLEARN_RUN_OPTIONS, newUnlearnSettings, resultOf,
} from "../../engine/run/unlearn/settings.ts";
import { VERSION } from "../../engine/run/version.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { RECIPES, recipesOf } from "../../engine/unlearn/recipes.ts";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { recordFiles } from "../attack/files.ts";
import type { Context } from "../context.ts";
import { overlayFiles, suitedTo } from "../model.ts";
import { resolveModel } from "../model-source.ts";
import type { CheckpointEntry, EvaluationConfig } from "../evaluate/config.ts";
import { withLock } from "../evaluate/lock.ts";
import { isDone, startOf, unlearnFiles } from "./begin.ts";
import { prepareUnlearn } from "./prepare.ts";
import { runUnlearn } from "./run.ts";

/** A checkpoint that is to be made before it is attacked. */
export interface Erasing {
  readonly checkpoint: string;
  /** SHA-256 of all that goes into it. */
  readonly hash: string;
  readonly settings: UnlearnSettings;
  /** The file or folder it is kept as. */
  readonly out: string;
  /** Another checkpoint that it is made from. */
  readonly over?: string | undefined;
}

/**
 * The checkpoints of an evaluation that are to be made, each under a name that says what went into it, and the configuration with these
 * names in their places.
 * @param folder where they are kept
 * @throws UsageError or FormatError naming the checkpoint whose settings or files cannot be used
 */
export async function planErasings(
  context: Context,
  config: EvaluationConfig,
  folder: string,
): Promise<{ readonly config: EvaluationConfig; readonly erasings: readonly Erasing[] }> {
  const erasings: Erasing[] = [];
  const checkpoints = new Map<string, CheckpointEntry>();
  for (const entry of config.checkpoints) {
    try {
      checkpoints.set(entry.name, entry.unlearn ? await plan(context, config, entry, checkpoints, erasings, folder) : entry);
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof FormatError)) throw error;
      throw new UsageError(`checkpoint "${entry.name}": ${errorMessage(error)}`, { cause: error });
    }
  }
  return { config: { ...config, checkpoints: [...checkpoints.values()] }, erasings };
}

async function plan(
  context: Context,
  config: EvaluationConfig,
  { unlearn, ...entry }: CheckpointEntry,
  before: ReadonlyMap<string, CheckpointEntry>,
  erasings: Erasing[],
  folder: string,
): Promise<CheckpointEntry> {
  const { over, ...given } = unlearn!;
  const under: Partial<CheckpointEntry> | undefined = over === undefined ? {} : before.get(over);
  if (!under) throw new UsageError(`is made over "${over}", which is not a checkpoint before it`);
  const files = modelPart(under);
  const base: ModelOptions = { model: config.model, ...files, ...modelPart(entry) };
  const settings = wholeWhereNeeded(newUnlearnSettings({ ...base, ...given } as GivenUnlearn), base);
  const { layout, component } = resultOf(settings);
  const from = erasings.find(({ checkpoint }) => checkpoint === over);
  const hash = await hashOf(context, settings, from);
  const out = join(folder, hash.slice(0, 16), component + LAYOUTS[layout].ending).replaceAll("\\", "/");
  erasings.push({ checkpoint: entry.name, hash, settings: { ...settings, layout }, out, over }); // of every family the same
  const key = OVERLAYS[component];
  const lora = key === "lora" && base.lora ? `${base.lora},${out}` : out;
  return { ...files, ...entry, [key]: lora };
}

/** What lays a made checkpoint over the model. */
const OVERLAYS = { unet: "unet", text_encoder: "textEncoder", "low-rank": "lora" } as const;

/** The fields of an entry that say which model. */
function modelPart({ model, ...entry }: Partial<CheckpointEntry>): Partial<CheckpointEntry> {
  return { ...(model !== undefined && { model }), ...pick(MODEL_OPTIONS, entry) };
}

/**
 * A layout that holds all tensors where the file it is made from holds some that the new one would not; and of a whole model what is
 * trained of it, since the evaluation has the rest.
 */
function wholeWhereNeeded(settings: UnlearnSettings, { unet, textEncoder }: ModelOptions): UnlearnSettings {
  const { layout, component } = resultOf(settings);
  if (layout === "pipeline-folder") return { ...settings, layout: "component-folder" };
  const partial = layout === "partial-safetensors" || layout === "delta-bin";
  if (!partial || (component === "unet" ? unet : textEncoder) === undefined) return settings;
  if (settings.layout !== null) {
    throw new UsageError(`layout ${layout} holds only what was trained, and would lose what the checkpoint it is made from changed`);
  }
  return { ...settings, layout: component === "unet" ? "unet-pt" : "text-encoder-pt" };
}

/** Of the settings that decide the result, the precision, and every file that goes in; of another made checkpoint what went into it. */
async function hashOf(context: Context, settings: UnlearnSettings, from: Erasing | undefined): Promise<string> {
  const { options } = context;
  const wanted = suitedTo(context);
  const made = from?.out;
  const overlays = (await Promise.all(overlaysOf(settings, made).map((one) => overlayFiles(one, context)))).flat();
  const pictures = [settings.images, settings.retainImages].filter((dir) => dir !== null).map(resolvePath);
  const listed = await Promise.all(pictures.map(filesBelow));
  const records = await recordFiles([
    { role: "model", path: (await resolveModel(settings.model, context, wanted)).folder, ...wanted },
    ...overlays,
    ...(settings.retain === null ? [] : [{ role: "retain", path: resolvePath(settings.retain) }]),
    ...listed.flat().map((path) => ({ role: "picture", path })),
  ]);
  const flags = asFlags(UNLEARN_RUN_OPTIONS, { ...settings }, settings.method).map((word) => (word === made ? from!.hash : word));
  const { defaults } = RECIPES[settings.recipe ?? recipesOf(settings.method)[0]!];
  const everything = [
    VERSION, defaults, options.weights ?? "f32", options.math ?? "f32", settings.concepts, flags,
    records.map(({ role, sha256 }) => [role, sha256]),
  ];
  return createHash("sha256").update(JSON.stringify(everything)).digest("hex");
}

/** The settings' overlays but one that has yet to be made, one at a time. */
function overlaysOf(settings: UnlearnSettings, made: string | undefined): ModelOptions[] {
  const { unet, textEncoder, lora } = settings;
  return Object.entries({ unet, textEncoder, lora }).flatMap(([key, path]) =>
    path === null || path === made ? [] : [{ model: settings.model, [key]: path }],
  );
}

async function filesBelow(folder: string): Promise<string[]> {
  const names = await nodeFiles.list(folder);
  const below = await Promise.all(names.map((name) => (name.endsWith("/") ? filesBelow(join(folder, name)) : [join(folder, name)])));
  return below.flat();
}

/** Those that some checkpoints need: their own, and what these are made from. */
export function neededErasings(erasings: readonly Erasing[], checkpoints: ReadonlySet<string>): Erasing[] {
  const needed = new Set(checkpoints);
  for (const { checkpoint, over } of erasings.toReversed()) if (needed.has(checkpoint) && over !== undefined) needed.add(over);
  return erasings.filter(({ checkpoint }) => needed.has(checkpoint));
}

const WAIT_MS = 3000;

/**
 * Makes the checkpoints that are not there yet, one after the other, and goes on with those that were interrupted. What another process
 * is making is waited for.
 * @throws what stopped one of them
 */
export async function makeErasings(context: Context, erasings: readonly Erasing[], showImages: boolean): Promise<void> {
  for (const erasing of erasings) {
    const { out, checkpoint, settings } = erasing;
    for (let told = false; !(await isMade(out)); told = true) {
      context.signal.throwIfAborted();
      try {
        await withLock(join(out, ".."), (line) => context.say(line), async () => {
          if (await isMade(out)) return;
          context.say(`making checkpoint ${checkpoint} (${settings.method}): ${out}`);
          const run = await startOf(settings, out, showImages, await unlearnFiles(out).earlier());
          await runUnlearn(context, await prepareUnlearn(context, run), out);
        });
      } catch (error) {
        if (!(error instanceof UsageError) || !/being written by another process/.test(error.message)) throw error;
        if (!told) context.say(`checkpoint ${checkpoint} is being made by another process: waiting for it`);
        await new Promise((done) => setTimeout(done, WAIT_MS));
      }
    }
  }
}

async function isMade(out: string): Promise<boolean> {
  return isDone(await unlearnFiles(out).earlier(), out);
}
