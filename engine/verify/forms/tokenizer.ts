import { isObject, joinPath } from "../../formats/file-system.ts";
import { InputError } from "../../runtime/errors.ts";
import { loadTokenizer } from "../../diffusion/tokenizer-folder.ts";
import type { Tokenizer } from "../../../tokenizer/index.ts";
import type { Form } from "../check.ts";
import type { VerifyContext } from "../context.ts";
import type { Golden } from "../golden.ts";
import type { Rows } from "../rows.ts";

/** `tokenizer`: ids of every prompt, decodings, and what the decoded text tokenizes to. Needs no device. */
export const tokenizer: Form = async ({ golden, rows, context }) => {
  const subject = await tokenizerFor(golden, context);
  const ids = await golden.ints("ids_hf");
  const length = golden.shape("ids_hf")[1]!;
  // The other implementations' answers are second opinions, which differ from the primary one where the JSON says so.
  golden.account(...golden.names().filter((n) => n.startsWith("ids_")));
  for (const [i, c] of golden.objects("prompts").entries()) {
    const name = `prompt ${i}`;
    await rows.guard(name, "ids", () => {
      const expected = ids.subarray(i * length, (i + 1) * length);
      rows.compare(name, "ids", subject.encode(golden.text("prompt", c)), expected, 0, "mismatches");
      const decoded = subject.decode([...expected.subarray(1)].filter((id) => id !== subject.eosId));
      sameText(rows, name, "decode", decoded, golden.text("decode", c));
    });
  }
  for (const [i, c] of golden.objects("decode_cases").entries()) {
    const name = `ids ${i}`;
    await rows.guard(name, "decode", () => {
      const list = golden.numbers("ids", c);
      sameText(rows, name, "decode", subject.decode(list), golden.text("decode", c));
      if (c["decode_no_cleanup"] !== undefined) {
        sameText(rows, name, "decode_no_cleanup", subject.decode(list, { cleanUpSpaces: false }), golden.text("decode_no_cleanup", c));
      }
      if (c["decode_skip_special"] !== undefined) {
        const decoded = subject.decode(list, { skipSpecialTokens: true });
        sameText(rows, name, "decode_skip_special", decoded, golden.text("decode_skip_special", c));
      }
      rows.compare(name, "reencode", subject.encode(golden.text("decode", c)), golden.numbers("reencode", c), 0, "mismatches");
    });
  }
};

function sameText(rows: Rows, name: string, tensor: string, actual: string, expected: string): void {
  const note = actual === expected ? undefined : `${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`;
  rows.error(name, tensor, note === undefined ? 0 : 1, 0, "mismatches", note);
}

/** The model's own tokenizer if its vocabulary has the reference's size, CLIP's otherwise. */
async function tokenizerFor(golden: Golden, context: VerifyContext): Promise<Tokenizer> {
  const size = isObject(golden.json["vocab"]) ? golden.json["vocab"]["size"] : undefined;
  const { clipTokenizer, model } = context.sources;
  if (model !== undefined && (await context.files.kind(joinPath(model, "tokenizer/vocab.json"))) === "file") {
    const own = await loadTokenizer(context.files, joinPath(model, "tokenizer"), golden.shape("ids_hf")[1]);
    if (size === undefined || own.vocabularySize === size) return own;
  }
  if (!clipTokenizer) throw new InputError(`${golden.path}: needs CLIP's tokenizer`);
  return clipTokenizer();
}
