import type { Value } from "../../../../kernels/kernel.ts";
import { isObject } from "../../../formats/file-system.ts";
import type { Form } from "../../context.ts";

const HIDDEN = "hidden_states.";

/** `golden_text_encoder`: every hidden state, the encoding, and its row at the first end-of-text token. */
export const textEncoder: Form = async (golden, rows, context) => {
  const model = await context.model();
  const name = golden.cases[0]?.name ?? "text_encoder";
  const ids = Uint32Array.from(await golden.ints("ids"));
  const [batch, length] = golden.shape("ids") as [number, number];
  const hiddenNames = golden.names().filter((n) => n.startsWith(HIDDEN));
  await rows.guard(name, "last_hidden_state", async () => {
    const program = await model.program(`verify text encoder ${batch}x${length}`, (g) => {
      const last = model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [batch, length], dtype: "u32" })));
      const outputs: Record<string, Value> = { last };
      for (const [path, value] of g.captured) {
        const layer = /^text_model\.(hidden_states\.\d+)$/.exec(path)?.[1];
        if (layer !== undefined) outputs[layer] = value;
      }
      return { outputs };
    });
    await program.run({ ids });
    const computed = await program.read();
    const last = computed["last"] as Float32Array;
    rows.compare(name, "last_hidden_state", last, await golden.floats("last_hidden_state"), rows.tolerances.model);
    if (golden.has("pooler_output")) {
      const hidden = last.length / (batch * length);
      const stated = golden.json["token_ids"];
      const eos = isObject(stated) ? stated["eos_and_pad"] : undefined;
      const end = typeof eos === "number" ? eos : model.parts.textEncoder.config.vocabularySize - 1;
      const pooled = Array.from({ length: batch }, (_, b) => {
        const row = ids.subarray(b * length, (b + 1) * length).indexOf(end);
        return [...last.subarray((b * length + row) * hidden, (b * length + row + 1) * hidden)];
      });
      rows.compare(name, "pooler_output", pooled.flat(), await golden.floats("pooler_output"), rows.tolerances.model);
    }
    for (const tensor of hiddenNames) {
      const expected = await golden.floats(tensor); // of the first prompts only
      const actual = computed[tensor];
      if (actual) rows.compare(name, tensor, (actual as Float32Array).subarray(0, expected.length), expected, rows.tolerances.model);
      else rows.failed(name, tensor, "the model has no such layer");
    }
  });
};
