// Every prompt and every decoding of the reference tokenizer, and the bundled model's own token lists.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { readFixture, readJson } from "../support/fixtures.ts";
import { clip, emoji } from "./support.ts";

interface Golden {
  readonly prompts: readonly { readonly prompt: string; readonly decode: string }[];
  readonly decode_cases: readonly {
    readonly ids: readonly number[];
    readonly decode: string;
    readonly decode_no_cleanup: string;
    readonly decode_skip_special: string;
    readonly reencode: readonly number[];
  }[];
}
interface ModelCases {
  readonly cases: readonly {
    readonly tokenizer: "sd1" | "sd2" | "emoji";
    readonly text: string;
    readonly ids: readonly number[];
    readonly count: number;
    readonly decode: string;
    readonly skipSpecial: string;
    readonly noCleanUp: string;
  }[];
}
interface EmojiReference {
  readonly cases: readonly { readonly prompt: string; readonly tokens: readonly string[] }[];
}

const golden = readJson<Golden>("tokenizer/tokenizer.json");
/** `[397, 77]` */
const ids = readFixture("tokenizer/tokenizer.safetensors").get("ids_hf")!.data as Int32Array;
const tokenizer = await clip();

const test = suite("tokenizer golden");

test("all 397 prompts give the reference's ids", () => {
  assert.is(golden.prompts.length, 397);
  assert.is(ids.length, 397 * 77);
  golden.prompts.forEach(({ prompt }, i) => {
    assert.equal([...tokenizer.encode(prompt)], [...ids.subarray(i * 77, i * 77 + 77)], JSON.stringify(prompt));
  });
});

test("all 397 prompts decode to the reference's text", () => {
  golden.prompts.forEach(({ prompt, decode }, i) => {
    const bare = [...ids.subarray(i * 77 + 1, i * 77 + 77)].filter((id) => id !== 49407);
    assert.is(tokenizer.decode(bare), decode, JSON.stringify(prompt));
  });
});

test("all 146 arbitrary id lists decode, and encode again, as the reference", () => {
  assert.is(golden.decode_cases.length, 146);
  for (const expected of golden.decode_cases) {
    const label = JSON.stringify(expected.ids);
    assert.is(tokenizer.decode(expected.ids), expected.decode, label);
    assert.is(tokenizer.decode(expected.ids, { cleanUpSpaces: false }), expected.decode_no_cleanup, label);
    assert.is(tokenizer.decode(expected.ids, { skipSpecialTokens: true }), expected.decode_skip_special, label);
    assert.equal([...tokenizer.encode(expected.decode)], [...expected.reencode], label);
  }
});

test("special tokens, truncation and padding as the reference's SD 1, SD 2 and bundled tokenizers", async () => {
  const tokenizers: Record<string, Tokenizer> = { sd1: tokenizer, sd2: await clip({ padId: 0 }), emoji: emoji() };
  const { cases } = readJson<ModelCases>("tokenizer/models.json");
  assert.ok(cases.length >= 60);
  for (const expected of cases) {
    const subject = tokenizers[expected.tokenizer]!;
    const label = `${expected.tokenizer} ${JSON.stringify(expected.text)}`;
    assert.equal([...subject.encode(expected.text)], [...expected.ids], label);
    const bare = subject.tokenize(expected.text);
    assert.is(bare.length, expected.count, label);
    assert.is(subject.decode(bare), expected.decode, label);
    assert.is(subject.decode(bare, { skipSpecialTokens: true }), expected.skipSpecial, label);
    assert.is(subject.decode(bare, { cleanUpSpaces: false }), expected.noCleanUp, label);
  }
});

test("the bundled model's prompts give the pieces of its reference", () => {
  const subject = emoji();
  assert.is(subject.maxLength, 32);
  assert.is(subject.vocabularySize, 8192);
  const { cases } = JSON.parse(readFileSync("assets/emoji/reference/reference.json", "utf8")) as EmojiReference;
  assert.ok(cases.length > 0);
  for (const { prompt, tokens } of cases) assert.equal(subject.pieces(subject.encode(prompt)), [...tokens], prompt);
});

test.run();
