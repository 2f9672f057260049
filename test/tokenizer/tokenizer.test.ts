// A tokenizer's framing, its bounds, other vocabularies, and what must hold for any text.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BytePairEncoder } from "../../tokenizer/bpe.ts";
import { createTokenizer, TokenizerError, type TokenizerFiles } from "../../tokenizer/index.ts";
import { clip, clipMergeList } from "./support.ts";
import { createClipTokenizer } from "../../tokenizer/clip.ts";

const tokenizer = await clip();
const test = suite("tokenizer");

// A vocabulary of a few words, to hold every rule in view.
const toy = {
  vocabulary: { l: 0, o: 1, w: 2, "w</w>": 3, lo: 4, "low</w>": 5, "e</w>": 6, "!</w>": 7, "<|startoftext|>": 8, "<|endoftext|>": 9 },
  merges: "#version: 0.2\nl o\nlo w</w>\n",
  maxLength: 6,
} satisfies TokenizerFiles;

/** The message of the TokenizerError that the call throws. */
function refusal(files: Partial<TokenizerFiles>): string {
  try {
    createTokenizer({ ...toy, ...files });
  } catch (error) {
    assert.instance(error, TokenizerError);
    assert.not.match((error as Error).message, "\n");
    return (error as Error).message;
  }
  return assert.unreachable(`accepted ${JSON.stringify(files)}`) as never;
}

test("the files of transformers 3 to 5: added tokens beside the vocabulary, and one file for all", () => {
  const { vocabulary, maxLength } = toy;
  const older = createTokenizer({ ...toy, addedTokens: { "<cce>": 10 } });
  assert.equal([...older.encode("low <cce>")], [8, 5, 10, 9, 9, 9]);
  assert.equal([older.vocabularySize, older.decode([5, 10])], [11, "low <cce>"]);
  const added = [
    { id: 8, content: "<|startoftext|>", special: true },
    { id: 9, content: "<|endoftext|>", special: true },
    { id: 10, content: "<cce>", special: false, lstrip: false, rstrip: false },
  ];
  for (const pairs of [
    [
      ["l", "o"],
      ["lo", "w</w>"],
    ],
    ["l o", "lo w</w>"],
  ]) {
    const newer = createTokenizer({
      tokenizer: { added_tokens: added, model: { type: "BPE", end_of_word_suffix: "</w>", vocab: vocabulary, merges: pairs } },
      maxLength,
    });
    assert.equal([...newer.encode("low <cce> low")], [8, 5, 10, 5, 9, 9]);
    assert.equal(newer.tokenize("low<cce>"), [5, 10]);
  }
  assert.match(
    refusal({ vocabulary: undefined, merges: undefined, tokenizer: { model: { type: "WordPiece", vocab: vocabulary, merges: [] } } }),
    /tokenizer.json "model": is "WordPiece"/,
  );
  assert.match(
    refusal({
      vocabulary: undefined,
      merges: undefined,
      tokenizer: { model: { type: "BPE", end_of_word_suffix: "</w>", vocab: vocabulary, merges: [["l"]] } },
    }),
    /"merges" 0: expected a pair/,
  );
  assert.match(refusal({ merges: undefined }), /neither vocab.json with merges.txt nor tokenizer.json/);
  assert.match(refusal({ addedTokens: { "<cce>": "ten" } }), /added_tokens.json "<cce>": expected a token id, found "ten"/);
  assert.match(
    refusal({ addedTokens: { "<cce>": 3 } }),
    /added_tokens.json "<cce>" gives "<cce>" id 3, but in vocab.json that id is "w<\/w>"/,
  );
});

test("a prompt is bos, ids, eos, padding; what does not fit is cut off and reported", () => {
  const subject = createTokenizer(toy);
  assert.equal([...subject.encode("low low")], [8, 5, 5, 9, 9, 9]);
  assert.equal([...subject.encode("")], [8, 9, 9, 9, 9, 9]);
  assert.equal(subject.encodeFully("low low low"), { ids: Int32Array.of(8, 5, 5, 5, 9, 9), tokenCount: 3, dropped: [] });
  assert.equal(subject.encodeFully("low low low low low e"), { ids: Int32Array.of(8, 5, 5, 5, 5, 9), tokenCount: 6, dropped: [5, 6] });
  assert.equal([...subject.frame([0, 1])], [8, 0, 1, 9, 9, 9]);
  assert.equal(subject.pieces([4, 3]), ["lo", "w</w>"]);
  assert.is(subject.vocabularySize, 10);
});

test("what the vocabulary lacks becomes the unknown token", () => {
  assert.equal(createTokenizer(toy).tokenize("lowz"), [4, 2, 9]);
});

test("settings are strings or AddedToken objects, and special_tokens_map.json wins", () => {
  const subject = createTokenizer({
    ...toy,
    vocabulary: { ...toy.vocabulary, "<s>": 10, "<pad>": 11 },
    maxLength: undefined,
    config: { model_max_length: 5, bos_token: { __type: "AddedToken", content: "<s>", lstrip: false, rstrip: false }, pad_token: "l" },
    specialTokens: { pad_token: { content: "<pad>" } },
  });
  assert.equal([...subject.encode("low")], [10, 5, 9, 11, 11]);
  assert.equal([subject.bosId, subject.eosId, subject.padId, subject.maxLength], [10, 9, 11, 5]);
  assert.is(createTokenizer({ ...toy, maxLength: undefined, config: { model_max_length: 1e30 } }).maxLength, 77);
});

test("tokens beyond vocab.json are kept whole", () => {
  const config = {
    added_tokens_decoder: { "9": { content: "<|endoftext|>", special: true }, "10": { content: "<cat-toy>", special: false } },
  };
  const subject = createTokenizer({ ...toy, config });
  assert.equal(subject.tokenize("low <cat-toy>low"), [5, 10, 5]);
  assert.is(subject.decode([5, 10, 5]), "low <cat-toy> low");
  assert.is(subject.vocabularySize, 11);
});

test("decoding and encoding again keeps the text", () => {
  for (let i = 0; i < 300; i++) {
    const ids = Array.from({ length: 1 + Math.floor(Math.random() * 12) }, () => Math.floor(Math.random() * 49406));
    const text = tokenizer.decode(tokenizer.tokenize(tokenizer.decode(ids)));
    assert.is(tokenizer.decode(tokenizer.tokenize(text)), text, JSON.stringify(ids));
  }
});

test("a word's pieces are its bytes, whatever the bytes", () => {
  for (let i = 0; i < 300; i++) {
    const word = String.fromCodePoint(
      ...Array.from({ length: 1 + Math.floor(Math.random() * 8) }, () => 0x4e00 + Math.floor(Math.random() * 0x5000)),
    );
    assert.is(tokenizer.decode(tokenizer.tokenize(word)), word);
  }
});

test("the cache of words is bounded and does not change the answer", () => {
  const encoder = new BytePairEncoder(new Map([["a b", 0]]));
  for (let i = 0; i < 20_000; i++) encoder.encode(`ab${i}`);
  assert.ok(encoder.cachedWords <= 8192, `${encoder.cachedWords} words`);
  assert.equal(encoder.encode("ab0"), ["ab", "0</w>"]);
  encoder.encode("x".repeat(1000));
  assert.ok(encoder.cachedWords <= 8192);
});

test("SD 2's padding is id 0 and any length can be asked for", async () => {
  const subject = await clip({ padId: 0, maxLength: 10 });
  assert.equal([...subject.encode("a cat")], [49406, 320, 2368, 49407, 0, 0, 0, 0, 0, 0]);
});

test("bad files are refused in one clear line", () => {
  assert.match(refusal({ vocabulary: "{" }), /^vocab\.json: not valid JSON/);
  assert.match(refusal({ vocabulary: "[1]" }), "vocab.json: expected a JSON object, found an array");
  assert.match(refusal({ vocabulary: "{}" }), "vocab.json: the vocabulary is empty");
  assert.match(refusal({ vocabulary: { a: "x" } }), 'the id of "a" is "x"; expected a whole number');
  assert.match(refusal({ vocabulary: { a: -1 } }), 'the id of "a" is -1');
  assert.match(refusal({ vocabulary: { a: 1, b: 1 } }), '"a" and "b" both have id 1');
  assert.match(refusal({ merges: "#version: 0.2\nl o\nlo\n" }), 'merges.txt line 3: expected two pieces separated by a space, found "lo"');
  assert.match(
    refusal({ merges: "#version: 0.2\nl w\n" }),
    'merges.txt line 2: joins "l" and "w" into "lw", which vocab.json does not hold',
  );
  assert.match(refusal({ merges: "#version: 0.2\nx o\n" }), 'merges.txt line 2: names "x"');
  assert.match(refusal({ config: "nonsense" }), /^tokenizer_config\.json: not valid JSON/);
  assert.match(refusal({ config: { eos_token: 3 } }), 'tokenizer_config.json "eos_token": expected a token');
  assert.match(refusal({ config: { model_max_length: "long" } }), 'tokenizer_config.json "model_max_length"');
  assert.match(refusal({ specialTokens: { pad_token: "<pad>" } }), 'the padding token "<pad>" is not in the vocabulary of 10 pieces');
  assert.match(
    refusal({ config: { added_tokens_decoder: { "3": { content: "<x>" } } } }),
    'gives "<x>" id 3, but in vocab.json that id is "w</w>"',
  );
  assert.match(refusal({ maxLength: 1 }), "maxLength: expected a whole number of 2 or more");
});

test("an id outside the vocabulary is refused", () => {
  assert.throws(
    () => tokenizer.decode([320, 49408]),
    (error: unknown) =>
      error instanceof TokenizerError && error.message.includes("token id 49408 is not in the vocabulary of 49408 pieces"),
  );
  assert.throws(() => tokenizer.pieces([-1]), /token id -1/);
});

test("a damaged merge list is refused", async () => {
  for (const [bytes, message] of [
    [new Uint8Array(10), /not a whole gzip file/],
    [clipMergeList.slice(0, 200_000), /not a whole gzip file/],
  ] as const) {
    let caught: unknown;
    await createClipTokenizer(bytes).catch((error: unknown) => (caught = error));
    assert.instance(caught, TokenizerError);
    assert.match((caught as Error).message, message);
  }
});

test.run();
