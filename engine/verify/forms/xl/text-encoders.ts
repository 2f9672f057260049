import type { Value } from "../../../../kernels/kernel.ts";
import { endOfText } from "../../../../kernels/end-of-text.ts";
import { type TextEncoderPart, tableOf } from "../../../diffusion/model/text-model.ts";
import { projectedEncoder } from "../../../diffusion/model/two-encoders.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import { hiddenStates, textEncoder } from "../../../diffusion/text-encoder.ts";
import { Layers } from "../../../nn/layers.ts";
import type { Graph } from "../../../runtime/graph.ts";
import { embedding } from "../../../../kernels/embedding.ts";
import type { Form } from "../../context.ts";
import type { Golden } from "../../golden.ts";
import type { Rows } from "../../rows.ts";
import { encodersOf, splitEncoding } from "./encoding.ts";

/** `golden_text_encoders`: ids of both tokenizers, every hidden state, and what the UNet takes, by itself and as the model makes it. */
export const textEncoders: Form = async (golden, rows, context) => {
  const model = await context.model();
  const name = golden.cases[0]?.name ?? "text";
  const { second } = encodersOf(model);
  await rows.guard(name, "ids", () => checkIds(golden, rows, model, name, golden.list("prompts").map(String)));
  for (const number of [1, 2] as const) {
    await rows.guard(name, `text${number}`, async () => compareStates(golden, rows, name, number, await runEncoder(golden, model, number)));
  }
  await rows.guard(name, "encoder_hidden_states", async () => {
    const ids = Uint32Array.from(await golden.ints("ids_1"));
    const [batch, length] = golden.shape("ids_1") as [number, number];
    const lists = Array.from({ length: batch }, (_, b) => ids.subarray(b * length, (b + 1) * length));
    // By the ids of the first tokenizer alone: the second encoder's padding is the model's own work.
    const { context: states, pooled } = splitEncoding(await model.encodeText(lists), second.projectionWidth);
    const { model: tolerance } = rows.tolerances;
    rows.compare(name, "encoder_hidden_states", states.data, await golden.floats("encoder_hidden_states"), tolerance);
    rows.compare(name, "text_embeds", pooled.data, await golden.floats("text2.text_embeds"), tolerance);
  });
};

/** The ids of prompts by each encoder's own tokenizer. */
export async function checkIds(
  golden: Golden,
  rows: Rows,
  model: StableDiffusion,
  name: string,
  prompts: readonly string[],
): Promise<void> {
  const other = model.parts.second?.tokenizer ?? model.tokenizer;
  for (const [tensor, tokenizer] of [["ids_1", model.tokenizer], ["ids_2", other]] as const) {
    const ids = prompts.flatMap((prompt) => [...tokenizer.encode(prompt)]);
    rows.compare(name, tensor, ids, await golden.ints(tensor), 0, "mismatches");
  }
}

/** One encoder's hidden states and results, by the names of the reference. */
export async function runEncoder(golden: Golden, model: StableDiffusion, number: 1 | 2): Promise<Record<string, Float32Array>> {
  const encoders = encodersOf(model);
  const [batch, length] = golden.shape(`ids_${number}`) as [number, number];
  const program = await model.program(`verify text encoder ${number} ${batch}x${length}`, (g) => {
    const ids = g.input("ids", { shape: [batch, length], dtype: "u32" });
    return { outputs: number === 1 ? record(g, encoders.first, ids) : recordSecond(g, model, ids) };
  });
  await program.run({ ids: Uint32Array.from(await golden.ints(`ids_${number}`)) });
  return (await program.read()) as Record<string, Float32Array>;
}

function record(g: Graph, part: TextEncoderPart, ids: Value): Record<string, Value> {
  const layers = new Layers(g, part.parameters);
  const embeddings = embedding(g, tableOf(g, part), ids);
  const states = hiddenStates(layers, part.config, embeddings);
  const outputs = Object.fromEntries(states.map((value, i) => [`hidden.${i}`, value]));
  return { ...outputs, penultimate: states.at(-2)!, last_hidden_state: textEncoder(layers, part.config, embeddings) };
}

function recordSecond(g: Graph, model: StableDiffusion, ids: Value): Record<string, Value> {
  const { first, second } = encodersOf(model);
  const { eosId: end, padId: pad } = second;
  const { position } = endOfText(g, ids, { end, pad, limit: first.config.vocabularySize });
  const embeddings = embedding(g, tableOf(g, second), ids);
  return {
    ...record(g, second, ids),
    text_embeds: projectedEncoder(new Layers(g, second.parameters), second, embeddings, position).pooled,
  };
}

async function compareStates(
  golden: Golden,
  rows: Rows,
  name: string,
  number: 1 | 2,
  computed: Readonly<Record<string, Float32Array>>,
): Promise<void> {
  const prefix = `text${number}.`;
  for (const tensor of golden.names().filter((n) => n.startsWith(prefix))) {
    const actual = computed[tensor.slice(prefix.length)];
    if (!actual) {
      rows.failed(name, tensor, "the model has no such layer");
      continue;
    }
    const expected = await golden.floats(tensor); // of the first prompts only
    rows.compare(name, tensor, actual.subarray(0, expected.length), expected, rows.tolerances.model);
  }
}
