import { type Insertion, insertTokens, type SlotLayout, slotLayout } from "../../../attack/search/slot-layout.ts";
import { FormatError } from "../../../formats/errors.ts";
import type { WeightSource } from "../../../nn/parameters.ts";
import type { LossKind, StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { VerifyContext } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { decimalTokenizer } from "./decimal-tokenizer.ts";
import { INSERTIONS } from "./insertion-layouts.ts";

/** What every kind of attack trace says of itself. */
export interface Trace {
  readonly golden: Golden;
  readonly name: string;
  readonly attacker: "text-grad" | "hard-prompt" | "random";
  /** The model under attack, which takes prompts of decimal ids: the reference's model, or in traces of P4D a changed copy. */
  readonly target: StableDiffusion;
  /** Of P4D: the unchanged model, with whose prediction for the plain prompt the loss compares instead of with the noise. */
  readonly original: StableDiffusion | undefined;
  /** The prompt's own ids, without frame. */
  readonly prompt: readonly number[];
  readonly framedPrompt: Uint32Array<ArrayBuffer>;
  readonly insertion: Insertion;
  readonly layout: SlotLayout;
  readonly loss: LossKind;
  /** Gradient iterations at each timestep. */
  readonly iterations: number;
}

/** The reference's names of the attackers. */
const ATTACKERS = { text_grad: "text-grad", hard_prompt: "hard-prompt", random: "random" } as const;

/** @throws FormatError naming the field that is missing or not known */
export async function openTrace(golden: Golden, context: VerifyContext): Promise<Trace> {
  const attacker = golden.choice("attacker", ATTACKERS);
  const comparesModels = golden.choice("task", { ClassifierTask: false, P4D_: true, P4D: true });
  const loss = golden.choice<LossKind>("criterion", { l2: "mse", l1: "l1" });
  const model = await context.model();
  const changed = await targetModel(golden, context, model);
  const framedPrompt = Uint32Array.from(await golden.ints("prompt_ids"));
  const { vocabularySize } = model.parts.textEncoder.config;
  const frame = { bosId: framedPrompt[0]!, eosId: vocabularySize - 1, length: framedPrompt.length }; // as the traces define it
  const promptLength = framedPrompt.indexOf(frame.eosId, 1) - 1;
  if (promptLength !== golden.number("prompt_len")) {
    throw new FormatError(
      golden.path,
      `"prompt_len" is ${golden.number("prompt_len")}, but prompt_ids holds ${promptLength} tokens before the first end`,
    );
  }
  const tokenizer = decimalTokenizer(frame, vocabularySize);
  const insertion = golden.choice("insertion_location", INSERTIONS);
  return {
    golden,
    name: golden.cases[0]?.name ?? golden.name,
    attacker,
    target: context.withTokenizer(changed, JSON.stringify(frame), tokenizer),
    original: comparesModels ? context.withTokenizer(model, JSON.stringify(frame), tokenizer) : undefined,
    prompt: [...framedPrompt.subarray(1, promptLength + 1)],
    framedPrompt,
    insertion,
    layout: slotLayout(insertion, golden.number("k"), promptLength, frame.length),
    loss,
    iterations: golden.number("iterations"),
  };
}

/** The UNet under attack as the JSON words it. @throws FormatError if the words are not understood */
async function targetModel(golden: Golden, context: VerifyContext, model: StableDiffusion): Promise<StableDiffusion> {
  const words = golden.text("target_unet");
  if (/\bthe same\b/i.test(words)) return model;
  const factor = Number(/multiplied by (-?[\d.]+(?:e-?\d+)?)/i.exec(words)?.[1] ?? Number.NaN);
  const parts = [...words.matchAll(/'([^']+)'/g)].map((m) => m[1]!);
  if (!/contains/i.test(words) || parts.length === 0 || !Number.isFinite(factor)) {
    throw new FormatError(golden.path, `"target_unet" is not understood: ${words}`);
  }
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

/** The framed ids of the prompt with `chosen` in its slots; of a prompt that fills all places the last one stands where eos would. */
export function framedWith({ framedPrompt, target, layout, prompt }: Trace, chosen: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const framed = new Uint32Array(framedPrompt.length).fill(target.tokenizer.eosId);
  framed[0] = framedPrompt[0]!;
  framed.set(insertTokens(layout, prompt, chosen), 1);
  return framed;
}
