import { insertTokens, type SlotLayout, slotLayout } from "../../../attack/search/slot-layout.ts";
import { FormatError } from "../../../formats/errors.ts";
import type { WeightSource } from "../../../nn/parameters.ts";
import type { LossKind, StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { VerifyContext } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { insertionOf } from "./insertion-layouts.ts";

/** The ids that frame a trace's prompts: its stand-in vocabulary writes them as decimal numbers. */
export interface Frame {
  readonly bosId: number;
  readonly eosId: number;
  readonly length: number;
}

/** What every kind of attack trace says of itself. */
export interface Trace {
  readonly golden: Golden;
  readonly name: string;
  readonly model: StableDiffusion;
  /** The model under attack: the model itself, or in traces of P4D a changed copy. */
  readonly target: StableDiffusion;
  readonly frame: Frame;
  /** The prompt's own ids, without frame. */
  readonly prompt: readonly number[];
  readonly framedPrompt: Uint32Array<ArrayBuffer>;
  readonly layout: SlotLayout;
  readonly loss: LossKind;
  /** The loss compares with the unchanged model's prediction for the plain prompt instead of with the noise. */
  readonly comparesModels: boolean;
  /** Gradient iterations at each timestep. */
  readonly iterations: number;
}

/** @throws FormatError naming the field that is missing or not known */
export async function openTrace(golden: Golden, context: VerifyContext): Promise<Trace> {
  const model = await context.model();
  const task = golden.text("task");
  if (task !== "ClassifierTask" && !task.startsWith("P4D")) throw new FormatError(golden.path, `"task" is ${JSON.stringify(task)}; known are ClassifierTask and P4D_`);
  const target = await targetModel(golden, context, model);
  const framed = Uint32Array.from(await golden.ints("prompt_ids"));
  const eosId = model.parts.textEncoder.config.vocabularySize - 1; // as the traces define it
  const promptLength = framed.indexOf(eosId, 1) - 1;
  if (promptLength !== golden.number("prompt_len")) throw new FormatError(golden.path, `"prompt_len" is ${golden.number("prompt_len")}, but prompt_ids holds ${promptLength} tokens before the first end`);
  const criterion = golden.text("criterion");
  if (criterion !== "l2" && criterion !== "l1") throw new FormatError(golden.path, `"criterion" is ${JSON.stringify(criterion)}; known are l1 and l2`);
  return {
    golden,
    name: golden.cases[0]?.name ?? golden.name,
    model,
    target,
    frame: { bosId: framed[0]!, eosId, length: framed.length },
    prompt: [...framed.subarray(1, promptLength + 1)],
    framedPrompt: framed,
    layout: slotLayout(insertionOf(golden.path, golden.text("insertion_location")), golden.number("k"), promptLength, framed.length),
    loss: criterion === "l2" ? "mse" : "l1",
    comparesModels: task.startsWith("P4D"),
    iterations: golden.number("iterations"),
  };
}

/** The UNet under attack as the JSON words it. @throws FormatError if the words are not understood */
async function targetModel(golden: Golden, context: VerifyContext, model: StableDiffusion): Promise<StableDiffusion> {
  const words = golden.text("target_unet");
  if (/\bthe same\b/i.test(words)) return model;
  const factor = Number(/multiplied by (-?[\d.]+(?:e-?\d+)?)/i.exec(words)?.[1] ?? Number.NaN);
  const parts = [...words.matchAll(/'([^']+)'/g)].map((m) => m[1]!);
  if (!/contains/i.test(words) || parts.length === 0 || !Number.isFinite(factor)) throw new FormatError(golden.path, `"target_unet" is not understood: ${words}`);
  const changeUNet = (weights: WeightSource): WeightSource => ({
    name: weights.name,
    shape: (tensor) => weights.shape(tensor),
    names: () => weights.names(),
    close: async () => weights.close?.(),
    async readFloat32(tensor) {
      const data = await weights.readFloat32(tensor);
      return parts.some((p) => tensor.includes(p)) ? data.map((x) => x * factor) : data;
    },
  });
  return context.model(words, { changeUNet });
}

/** The framed ids of the prompt with `chosen` in its slots. */
export function framedWith(trace: Trace, chosen: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  return frame(trace.frame, insertTokens(trace.layout, trace.prompt, chosen));
}

export function frame({ bosId, eosId, length }: Frame, ids: readonly number[]): Uint32Array<ArrayBuffer> {
  const framed = new Uint32Array(length).fill(eosId);
  framed[0] = bosId;
  framed.set(ids.slice(0, length - 1), 1);
  return framed;
}

/** The text of ids in the traces' notation, and its ids again as its stand-in tokenizer frames them: cut to leave room for the end. */
export function decimalText(ids: readonly number[]): string {
  return ids.join(" ");
}

/** The framed ids of a text of decimal ids. @throws FormatError for anything else */
export function decimalIds(file: string, text: string, f: Frame): Uint32Array<ArrayBuffer> {
  const ids = text.split(" ").filter((w) => w !== "").map((word) => {
    if (!/^\d+$/.test(word)) throw new FormatError(file, `prompt ${JSON.stringify(text)}: "${word}" is not a decimal token id`);
    return Number(word);
  });
  return frame(f, ids.slice(0, f.length - 2));
}
