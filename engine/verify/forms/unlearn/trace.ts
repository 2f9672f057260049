import { StableDiffusionPipeline } from "../../../diffusion/pipeline.ts";
import { FormatError } from "../../../formats/errors.ts";
import { isObject, joinPath } from "../../../formats/file-system.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Tokenizer } from "../../../../tokenizer/index.ts";
import type { VerifyContext } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import { part } from "../../layout.ts";
import type { Rows } from "../../rows.ts";
import { decimalTokenizer } from "../attack/decimal-tokenizer.ts";

/** One recorded run of an erasing method, with the model that it began with. */
export interface Trace {
  readonly golden: Golden;
  readonly rows: Rows;
  readonly context: VerifyContext;
  /** Reads prompts of decimal ids. */
  readonly model: StableDiffusionPipeline;
  readonly tokenizer: Tokenizer;
  /** The run's case. */
  readonly name: string;
}

/** @throws FormatError for a JSON that lacks what all of them have, or whose model is not there */
export async function openTrace(golden: Golden, rows: Rows, context: VerifyContext): Promise<Trace> {
  const plain = await context.modelIn(await modelFolder(golden, context));
  const { bos, eos_and_pad: eos } = golden.object("token_ids");
  if (typeof bos !== "number" || typeof eos !== "number") throw new FormatError(golden.path, `"token_ids" must hold bos and eos_and_pad`);
  const { vocabularySize, maxLength } = plain.parts.textEncoder.config;
  const tokenizer = decimalTokenizer({ bosId: bos, eosId: eos, length: maxLength }, vocabularySize);
  const { parts } = context.withTokenizer(plain, `decimal ${bos} ${eos}`, tokenizer);
  const model = new StableDiffusionPipeline(parts);
  const name = golden.cases[0]?.name ?? golden.name;
  if (golden.has("empty_ids")) rows.compare(name, "empty_ids", tokenizer.encode(""), await golden.ints("empty_ids"), 0, "mismatches");
  return { golden, rows, context, model, tokenizer, name };
}

/** The pipeline's folder lies beside the golden's own, or in it; else it is the model that was given. */
export async function modelFolder(golden: Golden, context: VerifyContext): Promise<string> {
  const name = golden.text("model");
  const folder = golden.path.slice(0, golden.path.lastIndexOf("/"));
  for (const candidate of [joinPath(folder.slice(0, folder.lastIndexOf("/")), name), joinPath(folder, name)]) {
    if ((await context.files.kind(joinPath(candidate, "model_index.json"))) === "file") return candidate;
  }
  return context.modelFolder;
}

/** The tolerance of a quantity. @throws FormatError if the JSON has none */
export function toleranceOf({ golden }: Trace, quantity: string): number {
  return golden.number(quantity, golden.object("tolerance"));
}

/** How far float32 and float64 were apart; 0 where the JSON does not say. */
export function floorOf({ golden }: Trace, quantity: string): number {
  const floor = golden.json["floor"];
  const value = isObject(floor) ? floor[quantity] : undefined;
  return typeof value === "number" ? value : 0;
}

/** A list of texts of the JSON. @throws FormatError */
export function textsOf(golden: Golden, field: string): string[] {
  const list = golden.list(field);
  if (!list.every((x) => typeof x === "string")) throw new FormatError(golden.path, `"${field}" must be a list of texts`);
  return list as string[];
}

/** Framed ids of prompts [.., length] as decimal prompts. */
export async function promptsOf({ golden, tokenizer }: Trace, tensor: string): Promise<string[]> {
  const ids = await golden.ints(tensor);
  const length = golden.shape(tensor).at(-1)!;
  return Array.from({ length: ids.length / length }, (_, row) => {
    const framed = [...ids.subarray(row * length, (row + 1) * length)];
    const end = framed.indexOf(tokenizer.eosId, 1);
    return framed.slice(1, end < 0 ? framed.length : end).join(" ");
  });
}

/** The rows [1, ...] of a tensor. */
export async function rowsOf(golden: Golden, tensor: string): Promise<NDArray[]> {
  const whole = await golden.array(tensor);
  return Array.from({ length: whole.shape[0]! }, (_, i) => part(whole, i));
}
