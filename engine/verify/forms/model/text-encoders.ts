import type { Value } from "../../../../kernels/kernel.ts";
import { embedding } from "../../../../kernels/embedding.ts";
import { endOfText } from "../../../../kernels/end-of-text.ts";
import { isObject } from "../../../formats/file-system.ts";
import { tableOf } from "../../../diffusion/model/text-model.ts";
import { projectedEncoder } from "../../../diffusion/model/two-encoders.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { textEncoder } from "../../../diffusion/text-encoder.ts";
import type { NDArray } from "../../../nn/array.ts";
import { Layers } from "../../../nn/layers.ts";
import type { Check, Form } from "../../check.ts";
import { compute } from "../../compute.ts";
import { statistics } from "../modules.ts";
import { encodersOf, splitEncoding } from "./encoding.ts";

const HIDDEN_STATE = /^text_model\.hidden_states\.(\d+)$/;

/**
 * One encoder's hidden states `hidden.N` and results, by the names of the references, for framed prompts.
 * @param ids tensor of the reference
 */
export async function encoderOutputs(
  { golden }: Check,
  model: StableDiffusion,
  ids: string,
  second = false,
): Promise<Record<string, NDArray>> {
  const part = second ? encodersOf(model).second : model.parts.textEncoder;
  const inputs = { ids: { data: await golden.ids(ids), shape: golden.shape(ids) } };
  return compute(model, `text encoder ${second}`, inputs, (g, v) => {
    const embeddings = embedding(g, tableOf(g, part), v["ids"]!);
    const outputs: Record<string, Value> = { last_hidden_state: textEncoder(new Layers(g, part.parameters), part.config, embeddings) };
    const states = [...g.captured].flatMap(([path, value]) => (HIDDEN_STATE.test(path) ? [value] : []));
    states.forEach((value, i) => (outputs[`hidden.${i}`] = value));
    outputs["penultimate"] = states.at(-2)!;
    if (!second) return outputs;
    const { second: projected, first } = encodersOf(model);
    const { position } = endOfText(g, v["ids"]!, { end: projected.eosId, pad: projected.padId, limit: first.config.vocabularySize });
    return { ...outputs, text_embeds: projectedEncoder(new Layers(g, part.parameters), projected, embeddings, position).pooled };
  });
}

/**
 * Compares with an encoder's outputs: NAME, or of its numbers only NAME.stats. A reference may hold those of the first prompts only.
 * @param keys of the reference's tensors, by the rows' names
 */
export async function compareEncoder(
  check: Check,
  name: string,
  keys: Readonly<Record<string, string>>,
  computed: Readonly<Record<string, NDArray>>,
): Promise<void> {
  const { golden, rows } = check;
  for (const [tensor, key] of Object.entries(keys)) {
    const output = key.replace(/^text\d?\./, "").replace("hidden_states.", "hidden.");
    const made = computed[output.replace(/\.stats$/, "")]?.data;
    if (!made) rows.failed(name, tensor, "the model has no such layer");
    else if (output.endsWith(".stats")) await check.compare(name, tensor, statistics([made]), undefined, { key });
    else await check.compare(name, tensor, made.subarray(0, golden.shape(key).reduce((a, b) => a * b, 1)), undefined, { key });
  }
}

/** `golden_text_encoder`: every hidden state, the encoding, and its row at the first end-of-text token. */
export const oneTextEncoder: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  const name = golden.cases[0]?.name ?? "text_encoder";
  await rows.guard(name, "last_hidden_state", async () => {
    const computed = await encoderOutputs(check, model, "ids");
    const pooler_output = pooled(computed["last_hidden_state"]!, await golden.ids("ids"), endOf(check, model));
    const keys = golden.names().filter((n) => n === "last_hidden_state" || n === "pooler_output" || n.startsWith("hidden_states."));
    await compareEncoder(check, name, Object.fromEntries(keys.map((key) => [key, key])), { ...computed, pooler_output });
  });
};

/** The id that ends a prompt: the last of the vocabulary, unless the JSON has another. */
function endOf({ golden }: Check, model: StableDiffusion): number {
  const stated = golden.json["token_ids"];
  const eos = isObject(stated) ? stated["eos_and_pad"] : undefined;
  return typeof eos === "number" ? eos : model.parts.textEncoder.config.vocabularySize - 1;
}

/** The rows of [B, T, hidden] at the first `end` of each prompt. */
function pooled({ data, shape }: NDArray, ids: Uint32Array, end: number): NDArray {
  const [batch, length, hidden] = shape as [number, number, number];
  const rows = Array.from({ length: batch }, (_, b) => {
    const at = b * length + ids.subarray(b * length, (b + 1) * length).indexOf(end);
    return [...data.subarray(at * hidden, (at + 1) * hidden)];
  });
  return { data: Float32Array.from(rows.flat()), shape: [batch, hidden] };
}

/** `golden_text_encoders`: ids of both tokenizers, every hidden state, and what the UNet takes, by itself and as the model makes it. */
export const textEncoders: Form = async (check) => {
  const { golden, rows, context } = check;
  const model = await context.model();
  const name = golden.cases[0]?.name ?? "text";
  await rows.guard(name, "ids", () => checkIds(check, model, name, golden.list("prompts").map(String)));
  for (const number of [1, 2]) await rows.guard(name, `text${number}`, () => checkOneOfTwo(check, model, name, number));
  await rows.guard(name, "encoder_hidden_states", async () => {
    const ids = await golden.ids("ids_1");
    const [batch, length] = golden.shape("ids_1") as [number, number];
    const lists = Array.from({ length: batch }, (_, b) => ids.subarray(b * length, (b + 1) * length));
    // By the ids of the first tokenizer alone: the second encoder's padding is the model's own work.
    const { ctx, text_embeds } = splitEncoding(model, await model.encodeText(lists));
    await check.compare(name, "encoder_hidden_states", ctx, undefined, { key: "encoder_hidden_states" });
    await check.compare(name, "text_embeds", text_embeds!, undefined, { key: "text2.text_embeds" });
  });
};

/** The ids of prompts by each encoder's own tokenizer. */
export async function checkIds(check: Check, model: StableDiffusion, name: string, prompts: readonly string[]): Promise<void> {
  const other = model.parts.second?.tokenizer ?? model.tokenizer;
  for (const [key, tokenizer] of [["ids_1", model.tokenizer], ["ids_2", other]] as const) {
    await check.compare(name, key, prompts.flatMap((prompt) => [...tokenizer.encode(prompt)]), 0, { key });
  }
}

/** All that the reference has of SDXL's first or second encoder. */
export async function checkOneOfTwo(check: Check, model: StableDiffusion, name: string, number: number): Promise<void> {
  const keys = check.golden.names().filter((n) => n.startsWith(`text${number}.`));
  const computed = await encoderOutputs(check, model, `ids_${number}`, number === 2);
  await compareEncoder(check, name, Object.fromEntries(keys.map((key) => [key, key])), computed);
}
